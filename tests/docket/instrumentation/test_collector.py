"""The metrics of a process, as Prometheus gets them, and what a health probe is told."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from docket import Docket, ExecutionState, Perpetual, Retry, Worker
from docket.clock import now
from docket.instrumentation import (
    COLLECTOR,
    health,
    healthcheck_server,
    metrics_server,
    metrics_text,
)
from docket.instrumentation.process_registry import PROCESS_REGISTRY
from docket.instrumentation.readiness import SILENCE_SECONDS
from tests.support.dockets import PATIENCE, Gate, Told, at_work, finish, soon
from tests.support.scrapes import Scrape, fetch, probe
from tests.support.store import until

pytestmark = pytest.mark.anyio


async def greet(name: str) -> str:
    return f"Hello, {name}!"


async def break_down(retry: Retry = Retry(attempts=2)) -> None:
    raise ValueError("the reason")


@pytest.fixture
def port() -> Generator[int]:
    """Where the metrics of this process are served."""
    with metrics_server(0, host="127.0.0.1") as port:
        assert port is not None
        yield port


@pytest.fixture
def health_port() -> Generator[int]:
    with healthcheck_server(0, host="127.0.0.1") as port:
        assert port is not None
        yield port


async def scrape(port: int) -> Scrape:
    status, text = await probe(port)
    assert status == 200
    return Scrape(text)


@pytest.mark.statement(53)
async def test_runs_are_counted_by_docket_worker_and_task(docket: Docket, port: int) -> None:
    await docket.add(greet)("Ann")
    await docket.add(greet)("Bob")
    await docket.add(break_down)()
    await finish(docket, name="w")

    scraped = await scrape(port)

    def value(name: str, task: str) -> float | None:
        return scraped.value(name, run_labels(name, docket, task))

    assert {name: value(f"docket_tasks_{name}_total", "greet") for name in RUNS} == {
        **dict.fromkeys(RUNS, 0),
        "started": 2,
        "succeeded": 2,
        "completed": 2,
    }
    assert {name: value(f"docket_tasks_{name}_total", "break_down") for name in RUNS} == {
        **dict.fromkeys(RUNS, 0),
        "started": 2,
        "retried": 1,
        "failed": 2,
        "completed": 2,
    }
    for histogram in ("docket_task_duration_seconds", "docket_task_punctuality_seconds"):
        assert value(f"{histogram}_count", "greet") == 2
        everything = {
            "docket_name": docket.name,
            "docket_worker": "w",
            "docket_task": "greet",
            "le": "+Inf",
        }
        assert scraped.value(f"{histogram}_bucket", everything) == 2
        summed = value(f"{histogram}_sum", "greet")
        assert summed is not None
        assert 0 <= summed < 60


def run_labels(name: str, docket: Docket, task: str) -> dict[str, str]:
    """Return the labels of what worker `w` counts."""
    labels = {"docket_name": docket.name, "docket_worker": "w", "docket_task": task}
    return labels | ({"docket_where": "worker"} if "stricken" in name else {})


RUNS = (
    "started",
    "redelivered",
    "stricken",
    "superseded",
    "completed",
    "failed",
    "succeeded",
    "retried",
    "perpetuated",
    "cancelled",
)


async def test_what_a_process_asks_of_a_docket_is_counted(docket: Docket, port: int) -> None:
    later = now() + timedelta(hours=1)
    await docket.add(greet)("Ann")
    await docket.add(greet, later, key="once")("Ann")
    await docket.add(greet, later, key="once")("already there")
    await docket.replace(greet, later, "once")("Bob")
    await docket.add_many([docket.call(greet)("Cid"), docket.call(greet, later, key="off")("Dan")])
    await docket.cancel("off")
    await docket.cancel("never there")
    await docket.clear()

    scraped = await scrape(port)

    def of_task(name: str) -> float | None:
        labels = {"docket_name": docket.name, "docket_task": "greet"}
        return scraped.value(f"docket_tasks_{name}_total", labels)

    assert (of_task("added"), of_task("replaced"), of_task("scheduled")) == (4, 1, 5)
    await docket.strike(greet)
    await docket.add(greet)("Eve")
    struck = {"docket_name": docket.name, "docket_task": "greet"}
    struck |= {"docket_worker": "", "docket_where": "docket"}
    assert (await scrape(port)).value("docket_tasks_stricken_total", struck) == 1
    cancelled = {"docket_name": docket.name, "docket_worker": "", "docket_task": ""}
    assert scraped.value("docket_tasks_cancelled_total", cancelled) == 1
    assert scraped.value("docket_tasks_cleared_total", {"docket_name": docket.name}) == 3


async def test_a_cancelled_run_and_a_stricken_one_are_counted_where_they_end(
    docket: Docket, port: int
) -> None:
    gate = Gate()

    async def hold() -> None:
        await gate.pass_through()

    held = await docket.add(hold, key="held")()
    async with at_work(Worker(docket, name="w", concurrency=1)):
        await soon(gate.reached.wait())
        # It waits for the only slot, and is stricken before that is free.
        await docket.add(greet, key="struck")("Ann")
        await docket.strike(greet)
        await docket.cancel("held")
        for key in ("held", "struck"):
            await soon(ended(docket, key))
    await held.sync()
    assert held.state is ExecutionState.CANCELLED

    scraped = await scrape(port)

    def value(name: str, task: str) -> float | None:
        total = f"docket_tasks_{name}_total"
        return scraped.value(total, run_labels(total, docket, task))

    assert (value("cancelled", "hold"), value("stricken", "hold")) == (1, 0)
    assert (value("cancelled", "greet"), value("stricken", "greet")) == (1, 1)


async def test_runs_that_are_followed_replaced_or_given_back_are_counted_as_such(
    docket: Docket, port: int
) -> None:
    gate = Gate()

    async def again(perpetual: Perpetual = Perpetual()) -> None:
        pass

    async def replaced() -> None:
        await gate.pass_through()

    async def handed_back() -> None:
        gate.reached.set()
        await gate.opened.wait()

    await docket.add(again, key="again")()
    async with Worker(docket, name="w") as worker:
        await soon(worker.run_at_most({"again": 3}))
    old = await docket.add(replaced, key="replaced")()
    async with at_work(Worker(docket, name="w")) as worker:
        await soon(gate.reached.wait())
        await docket.replace(greet, now(), old.key)("Ann")
        gate.opened.set()
        await until(lambda: worker.counters.superseded == 1)
        gate.reached.clear()
        gate.opened.clear()
        await docket.add(handed_back)()
        await soon(gate.reached.wait())
    gate.opened.set()
    await finish(docket, name="w")

    scraped = await scrape(port)

    def value(name: str, task: str) -> float | None:
        labels = {"docket_name": docket.name, "docket_worker": "w", "docket_task": task}
        return scraped.value(f"docket_tasks_{name}_total", labels)

    followed = ("perpetuated", "superseded", "redelivered")
    assert [value(name, "again") for name in followed] == [2, 0, 0]
    assert [value(name, "replaced") for name in followed] == [0, 1, 0]
    assert [value(name, "handed_back") for name in followed] == [0, 0, 1]


async def ended(docket: Docket, key: str) -> None:
    execution = await docket.get_execution(key)
    assert execution is not None
    async for event in execution.subscribe():
        if event["type"] == "state" and event["state"] is ExecutionState.CANCELLED:
            return


async def test_gauges_are_what_is_there_at_that_moment(docket: Docket, port: int) -> None:
    gate = Gate()

    async def hold() -> None:
        await gate.pass_through()

    await docket.add(hold)()
    async with at_work(Worker(docket, name="w", concurrency=1)):
        await soon(gate.reached.wait())
        await docket.add(hold)()
        await docket.add(hold)()
        await docket.add(greet, now() + timedelta(hours=1))("Ann")
        await docket.strike(parameter="name", value="Zoe")

        scraped = await scrape(port)

        own = {"docket_name": docket.name}
        running = {**own, "docket_worker": "w", "docket_task": "hold"}
        assert scraped.value("docket_tasks_running", running) == 1
        assert scraped.value("docket_queue_depth", own) == 2
        assert scraped.value("docket_schedule_depth", own) == 1
        assert scraped.value("docket_strikes_in_effect", own) == 1
        assert scraped.value("docket_redis_disruptions_total", {**own, "docket_worker": "w"}) == 0

        gate.opened.set()
        while scraped.value("docket_tasks_succeeded_total", running) != 3:
            scraped = await scrape(port)
        assert scraped.value("docket_tasks_running", running) == 0
        assert scraped.value("docket_queue_depth", own) == 0


async def test_the_backlog_is_what_is_there_at_that_moment(docket: Docket, port: int) -> None:
    gate = Gate()

    async def hold() -> None:
        await gate.pass_through()

    await docket.add(hold)()
    async with at_work(Worker(docket, name="w", concurrency=1)):
        await soon(gate.reached.wait())
        await docket.add(hold)()
        await docket.add(hold)()
        await docket.add(greet, now() + timedelta(hours=1))("Ann")

        scraped = await scrape(port)

        gate.opened.set()
    own = {"docket_name": docket.name}
    states = {"scheduled": 1, "queued": 2, "running": 1, "waiting": 0, "paused": 0}
    for state, expected in states.items():
        labels = {**own, "docket_state": state}
        assert scraped.value("docket_backlog_tasks", labels) == expected
    assert (scraped.value("docket_backlog_oldest_ready_seconds", own) or 0) >= 0
    assert scraped.value("docket_backlog_lateness_seconds", own) == 0
    assert scraped.value("docket_backlog_workers", own) == 1
    assert scraped.value("docket_backlog_pauses", own) == 0
    assert scraped.value("docket_backlog_failed_kept", own) == 0
    assert scraped.value("docket_places", own) == 1
    assert scraped.value("docket_places_used", own) == 1


async def test_a_docket_that_nobody_has_claimed_from_has_a_depth(docket: Docket, port: int) -> None:
    async with at_work(Worker(docket, name="w")):
        scraped = await scrape(port)

    assert scraped.value("docket_queue_depth", {"docket_name": docket.name}) == 0


async def test_a_worker_without_a_name_has_no_process_id_in_its_label(
    docket: Docket, port: int
) -> None:
    await docket.add(greet)("Ann")
    worker = await finish(docket)
    assert "#" in worker.name

    scraped = await scrape(port)

    (labels,) = [
        labels
        for labels in scraped.labels("docket_tasks_started_total")
        if labels["docket_name"] == docket.name
    ]
    assert labels["docket_worker"] == socket.gethostname()


async def test_counters_do_not_go_back_when_a_worker_runs_again(docket: Docket, port: int) -> None:
    labels = {"docket_name": docket.name, "docket_worker": "w", "docket_task": "greet"}
    async with Worker(docket, name="w") as worker:
        for expected in (1, 2):
            await docket.add(greet)("Ann")
            await worker.run_until_finished()
            scraped = await scrape(port)
            assert scraped.value("docket_tasks_succeeded_total", labels) == expected
            assert worker.counters.succeeded == expected


async def test_every_metric_is_there_by_its_name_beside_those_of_the_process(port: int) -> None:
    _, text = await probe(port)

    for name in (*RUNS, "added", "replaced", "scheduled", "cleared"):
        assert f"# TYPE docket_tasks_{name}_total counter" in text
    for name in ("tasks_running", "queue_depth", "schedule_depth", "strikes_in_effect"):
        assert f"# TYPE docket_{name} gauge" in text
    for name in ("task_duration_seconds", "task_punctuality_seconds"):
        assert f"# TYPE docket_{name} histogram" in text
    assert "# TYPE docket_redis_disruptions_total counter" in text
    assert "# TYPE python_info gauge" in text


async def test_asked_on_the_workers_own_loop_the_backlog_is_left_out(docket: Docket) -> None:
    async with at_work(Worker(docket, name="w")):
        scraped = Scrape(metrics_text().decode())

    running = {"docket_name": docket.name, "docket_worker": "w"}
    assert scraped.value("docket_redis_disruptions_total", running) == 0
    assert scraped.value("docket_queue_depth", {"docket_name": docket.name}) is None


async def test_a_blocked_loop_keeps_no_scrape_waiting(docket: Docket, port: int) -> None:
    async with at_work(Worker(docket, name="w")):
        with ThreadPoolExecutor(1) as pool:
            # On purpose: the loop does not turn until the answer is there.
            status, text = pool.submit(fetch, port).result(PATIENCE.total_seconds())

    assert status == 200
    scraped = Scrape(text)
    assert scraped.value("docket_strikes_in_effect", {"docket_name": docket.name}) == 0
    assert scraped.value("docket_queue_depth", {"docket_name": docket.name}) is None


def test_the_collector_says_nothing_of_itself_until_it_is_asked() -> None:
    assert COLLECTOR.describe() == []


# Health ---------------------------------------------------------------------------------------


async def test_a_worker_that_can_claim_is_healthy_and_one_that_drains_is_not(
    docket: Docket, health_port: int
) -> None:
    gate = Gate()

    async def hold() -> None:
        await gate.pass_through()

    assert await probe(health_port) == (503, "no worker runs in this process")
    await docket.add(hold)()
    worker = Worker(docket, name="w")
    async with at_work(worker):
        await soon(gate.reached.wait())
        assert await probe(health_port) == (200, "OK")

        worker.drain()
        assert await probe(health_port) == (
            503,
            "worker w cannot claim: it claims no more: it was told to stop",
        )
        gate.opened.set()

    assert await probe(health_port) == (503, "no worker runs in this process")


@pytest.fixture
async def nowhere() -> AsyncGenerator[str]:
    """The URL of a server that is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{taken.getsockname()[1]}/0"


async def test_a_worker_without_a_server_is_not_healthy(
    nowhere: str, docket_name: str, health_port: int
) -> None:
    told = Told()
    async with Docket(docket_name, nowhere) as docket:
        worker = Worker(docket, name="w\x1b[2J")
        running = asyncio.create_task(worker.run_supervised(told))
        await soon(told.is_waiting.wait())

        status, words = await probe(health_port)

        assert status == 503
        assert words.startswith(r"worker w\x1b[2J cannot claim: it waits for the server: ")
        assert Scrape(metrics_text().decode()).names()
        worker.drain(0)
        await soon(running)


async def test_a_blocked_loop_is_told_by_whoever_is_asked(docket: Docket) -> None:
    async with at_work(Worker(docket, name="w")):
        (readiness,) = [
            worker.readiness
            for worker in PROCESS_REGISTRY.running_workers()
            if worker.docket == docket.name
        ]
        assert health() == (True, "OK")
        readiness.beat(SILENCE_SECONDS + 5, "some-key")

        assert health() == (
            False,
            "worker w cannot claim: its event loop has been blocked for 15 seconds",
        )
