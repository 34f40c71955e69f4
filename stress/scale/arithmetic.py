"""The arithmetic of a size: processes, dockets, connections and memory for a rate of tasks."""

import math
from dataclasses import dataclass, replace

from stress.scale.costs import Costs

#: Of a CPU, what is planned with: the rest is for bursts, a failover, a worker that is replaced.
PLANNED = 0.6
#: Of the server's memory, what is planned with: a copy for a snapshot needs room.
PLANNED_MEMORY = 0.5
#: Time from a call to its reply, beside what the server works on it.
ROUND_TRIP_SECONDS = 0.0005
#: The most failures that a docket keeps: the default of `keep_failed_most`.
FAILURES_KEPT = 10_000


@dataclass(frozen=True)
class Workload:
    """The work, and the settings that decide what it costs.

    Arguments:
        rate: tasks a second.
        seconds: the duration of a task, in seconds.
        cpu_us: CPU that the task itself takes of its worker, in microseconds.
        concurrency: tasks at once in a worker.
        adds: tasks that one call adds.
        kept_seconds: time for which the record of a task is kept after its end (`execution_ttl`).
        producers: processes that add tasks.
        server_bytes: memory of one server.
    """

    rate: float
    seconds: float = 0.1
    cpu_us: float = 0.0
    concurrency: int = 100
    adds: int = 1
    kept_seconds: float = 900.0
    producers: int = 10
    server_bytes: float = 16e9


@dataclass(frozen=True)
class Size:
    """The needs of a load.

    Arguments:
        processes: workers, of all dockets.
        dockets: each on a server, or a shard of a cluster, of its own.
        needed_by: what asks for that many dockets: `CPU` or `memory`.
        busy: CPU of each server, as a share of one core.
        memory: of all servers together, in bytes.
        connections: to each server.
        messages: a second, of all dockets.
    """

    processes: int
    dockets: int
    needed_by: str
    busy: float
    memory: float
    connections: int
    messages: float


def size_of(costs: Costs, load: Workload) -> Size:
    """Compute what a load needs, in CPU, memory, connections."""
    processes = _processes(costs, load)
    cpu = load.rate * _server_us(costs, load, processes) * 1e-6 + processes * costs.idle_us * 1e-6
    memory = _memory(costs, load)
    by_cpu = math.ceil(cpu / PLANNED)
    by_memory = math.ceil(memory / (load.server_bytes * PLANNED_MEMORY))
    dockets = max(by_cpu, by_memory, 1)
    workers = math.ceil(processes / dockets) * costs.worker_connections
    return Size(
        processes=max(processes, dockets),
        dockets=dockets,
        needed_by="memory" if by_memory > by_cpu else "CPU",
        busy=cpu / dockets,
        memory=memory,
        connections=round(workers + load.producers * costs.producer_connections),
        messages=load.rate * costs.messages,
    )


def most_of_a_docket(costs: Costs, load: Workload) -> float:
    """Compute the rate at which the server of one docket has no CPU left."""
    full = 1e6 / (costs.add_cost_us(load.adds) + costs.run_us(load.concurrency))
    processes = _processes(costs, replace(load, rate=full))
    return 1e6 / _server_us(costs, load, processes, full)


def _processes(costs: Costs, load: Workload) -> int:
    places = load.rate * load.seconds / load.concurrency
    cpu = load.rate * (costs.worker_us + load.cpu_us) * 1e-6
    return max(math.ceil(places / PLANNED), math.ceil(cpu / PLANNED), 1)


def _server_us(costs: Costs, load: Workload, processes: int, rate: float | None = None) -> float:
    """CPU of the server for a task: added, handed out, ended."""
    each = (load.rate if rate is None else rate) / processes
    # What happens in a worker during one round trip goes with the next call; in one that is not
    # busy, the claim and the outcome of a task are two calls.
    batch = min(max(each * ROUND_TRIP_SECONDS, 0.5), load.concurrency)
    return costs.add_cost_us(load.adds) + costs.run_us(batch)


def _memory(costs: Costs, load: Workload) -> float:
    records = load.rate * (
        load.kept_seconds * costs.ended_bytes + load.seconds * costs.waiting_bytes
    )
    return records + FAILURES_KEPT * costs.failed_bytes
