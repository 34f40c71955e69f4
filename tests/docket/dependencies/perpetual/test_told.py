"""What a perpetual task tells others: listeners, the log, the store; and what it refuses."""

import logging
from datetime import timedelta
from typing import Any

import pytest

from docket import Cron, Docket, Perpetual, Worker
from docket.dependencies import DuplicateDependency
from docket.dependencies import perpetual as perpetual_module
from docket.store.coalescing import Terms
from tests.support.dockets import at_work, finish, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio

LONG = timedelta(hours=1)


async def run_at_most(docket: Docket, **runs: int) -> Worker:
    async with Worker(docket) as worker:
        await soon(worker.run_at_most(runs))
    return worker


async def run_once(docket: Docket) -> None:
    """Runs a task to the end of its first run, and leaves its successor where it is."""
    worker = Worker(docket)
    async with at_work(worker):
        await until(lambda: worker.counters.perpetuated > 0, "a successor")


async def test_whoever_listens_hears_of_the_end_and_then_of_the_successor(
    docket: Docket,
) -> None:
    heard: list[list[bytes]] = []

    async def task(perpetual: Perpetual = Perpetual(every=LONG)) -> None:
        raise ValueError("first")

    def hear(payload: bytes | None) -> None:
        if payload is not None:
            heard.append(payload.split(b"\x1f"))

    def heard_of_both() -> bool:
        return [event[0] for event in heard][-3:] == [b"running", b"failed", b"scheduled"]

    channel = docket.keys.state_channel("k")
    async with docket.connections.subscriber.listening(channel, hear):
        await docket.add(task, key="k")()
        await run_once(docket)
        await until(heard_of_both)
    assert heard[-2][5] == b"ValueError: first"


async def test_arguments_that_cannot_be_stored_fail_the_run_and_not_the_chain(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[object] = []

    class Unpicklable:
        def __reduce__(self) -> Any:
            raise TypeError("not me")

    async def task(what: object, perpetual: Perpetual = Perpetual()) -> None:
        seen.append(what)
        perpetual.perpetuate(Unpicklable())

    await docket.add(task, key="k")("good")
    worker = await run_at_most(docket, k=2)

    assert seen == ["good", "good"]
    assert worker.counters.failed == 1
    assert "cannot be stored" in caplog.text


async def test_the_log_shows_that_it_goes_on(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    async def task(perpetual: Perpetual = Perpetual()) -> None: ...

    with caplog.at_level(logging.INFO, "docket"):
        await docket.add(task, key="k")()
        await run_at_most(docket, k=2)

    symbols = [r.getMessage()[0] for r in caplog.records if "task(){" in r.getMessage()]
    assert symbols == ["↪", "↫", "↪", "↩"]


async def test_a_failure_is_logged_and_that_it_goes_on_too(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    async def task(perpetual: Perpetual = Perpetual(every=LONG)) -> None:
        raise ValueError("told")

    with caplog.at_level(logging.INFO, "docket"):
        await docket.add(task, key="k")()
        await run_once(docket)

    shown = [(r.getMessage()[0], r.levelno) for r in caplog.records if "task(" in r.getMessage()]
    assert shown == [("↪", logging.INFO), ("↩", logging.ERROR), ("↫", logging.INFO)]


async def test_a_subclass_may_say_that_there_is_no_successor(docket: Docket) -> None:
    class OnSuccess(Perpetual):
        async def on_complete(self, execution: Any, outcome: Any) -> bool:
            return outcome.exception is None and await super().on_complete(execution, outcome)

    runs: list[int] = []

    async def task(perpetual: Perpetual = OnSuccess()) -> None:
        runs.append(1)
        if len(runs) == 3:
            raise ValueError("enough")

    await docket.add(task, key="k")()
    await finish(docket)

    assert len(runs) == 3


async def test_one_whose_caller_passes_the_parameter_is_not_perpetual(docket: Docket) -> None:
    async def task(perpetual: object = Perpetual()) -> object:
        return perpetual

    execution = await docket.add(task, key="k")(perpetual="none of it")
    await finish(docket)

    assert await execution.get_result() == "none of it"


def test_a_negative_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="every of a perpetual task must not be negative"):
        Perpetual(every=timedelta(seconds=-1))


def test_a_task_has_one_perpetual() -> None:
    async def task(a: Perpetual = Perpetual(), b: Perpetual = Cron("@daily")) -> None: ...

    with pytest.raises(
        DuplicateDependency,
        match=r"Only one CompletionHandler dependency is allowed, but found: Perpetual, Cron$",
    ):
        Docket().register(task)


async def test_a_request_says_whether_its_task_is_perpetual(docket: Docket) -> None:
    async def plain() -> None: ...
    async def perpetual(p: Perpetual = Perpetual()) -> None: ...

    await docket.add(plain, key="plain")()
    await docket.add(perpetual, key="perpetual")()

    assert b"perpetual" not in await docket.transitions.fetch("plain")
    assert b"perpetual" in await docket.transitions.fetch("perpetual")
    assert Terms("f", 1).perpetual == 0
    assert not docket.is_perpetual("never registered")
    assert perpetual_module.perpetual_of(docket.plans["plain"]) is None
