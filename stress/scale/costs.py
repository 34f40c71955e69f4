"""The costs of a task and of a worker, as `python -m stress.bench cost` measures them."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

#: The names of the bench's figures, by the field that they fill. The least of the rounds counts: a
#: crowded machine makes the same work cost more, never less.
_FIGURES = {
    "add_one_us": "add one by one: CPU of the server",
    "add_us": "add in bulk: CPU of the server",
    "run_10_us": "run, concurrency 10: CPU of the server",
    "run_100_us": "run, concurrency 100: CPU of the server",
    "worker_us": "run, concurrency 10: CPU of the process",
    "idle_us": "an idle worker: CPU of the server",
    "waiting_bytes": "a task that waits",
    "ended_bytes": "the record of one that has ended",
    "failed_bytes": "a failure that is kept",
    "messages": "messages of a task",
    "producer_connections": "connections of a producer",
    "worker_connections": "connections of a worker",
}


#: What the command reckons with by default: measured on the machine that the file names.
MEASURED = Path(__file__).parent / "measured.json"


class NoCosts(ValueError):
    """A file is not what `python -m stress.bench cost --json` prints."""


@dataclass(frozen=True)
class Costs:
    """The costs of a docket; CPU in microseconds.

    Arguments:
        add_one_us: of the server, for a task added by a call of its own.
        add_us: of the server, for a task of many that are added by one call.
        run_10_us: of the server, to hand out and end a task, ten a call.
        run_100_us: the same, a hundred a call.
        worker_us: of the worker's process, for a task.
        idle_us: of the server, for an idle worker, in a second.
        waiting_bytes: memory of the server for a task that waits.
        ended_bytes: for the record of one that has ended.
        failed_bytes: for a failure that is kept.
        messages: messages that the server publishes for a task.
        producer_connections: of a process that adds tasks.
        worker_connections: of a worker process.
    """

    add_one_us: float
    add_us: float
    run_10_us: float
    run_100_us: float
    worker_us: float
    idle_us: float
    waiting_bytes: float
    ended_bytes: float
    failed_bytes: float
    messages: float
    producer_connections: float
    worker_connections: float

    @property
    def call_us(self) -> float:
        """CPU of the server for an exchange beside its tasks, from the two sizes of calls.

        Never less than nothing: on a crowded machine the larger calls may look dearer.
        """
        return max((self.run_10_us - self.run_100_us) / (1 / 10 - 1 / 100), 0.0)

    @property
    def task_us(self) -> float:
        """CPU of the server for a task in an exchange, beside the exchange itself."""
        return max(self.run_100_us - self.call_us / 100, 0.0)

    def run_us(self, batch: float) -> float:
        """Compute the CPU of the server to hand out and end a task, `batch` tasks a call."""
        return self.task_us + self.call_us / batch

    def add_cost_us(self, batch: float) -> float:
        """Compute the CPU of the server to add a task, `batch` tasks a call."""
        return self.add_us + max(self.add_one_us - self.add_us, 0.0) / batch


def read_costs(path: Path) -> Costs:
    """Read costs from what `python -m stress.bench cost --json` printed.

    Raises:
        NoCosts: a figure is missing, or the file is none of this kind.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        least = {
            figure["name"]: float(figure["least"])
            for scenario in found["scenarios"]
            for figure in scenario["figures"]
        }
        return Costs(**{each.name: least[_FIGURES[each.name]] for each in fields(Costs)})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoCosts(
            f"cannot read costs from {path}: {error!r}. "
            "Make the file with `python -m stress.bench cost --json`"
        ) from error
