"""The progress of an execution: whose it is, who may report it, and who is told."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docket import CurrentExecution, Docket, Execution, ExecutionState, Progress, Retry, Worker
from docket.errors import ServerUnavailable
from docket.execution import ExecutionProgress, ProgressEvent
from docket.store import scripts, transitions
from tests.support.dockets import Gate, at_work, failure_of, finish, found, result_of, soon
from tests.support.proxy import Do, calls, proxy_to
from tests.support.store import until

pytestmark = pytest.mark.anyio

GONE = (None, 100, None, None)
BEGUN = (0, 100, None, None)
LATER = timedelta(hours=1)


def values(progress: ExecutionProgress | Progress) -> tuple[Any, ...]:
    return progress.current, progress.total, progress.message, progress.updated_at


def shown(progress: ExecutionProgress | Progress) -> tuple[Any, ...]:
    return progress.current, progress.total, progress.message


async def nothing() -> None: ...


async def report(progress: ExecutionProgress | Progress) -> None:
    await progress.set_total(7)
    await progress.increment(2)
    await progress.set_message("on the way")


REPORTED = (2, 7, "on the way")


# Whose it is -------------------------------------------------------------------------------------


async def completes(progress: Progress = Progress()) -> None:
    await report(progress)


async def fails(progress: Progress = Progress()) -> None:
    await report(progress)
    raise ValueError("broken")


async def is_cancelled(progress: Progress = Progress()) -> None:
    await report(progress)
    raise asyncio.CancelledError


@pytest.mark.statement(26)
@pytest.mark.parametrize(
    ("task", "state"),
    [
        (completes, ExecutionState.COMPLETED),
        (fails, ExecutionState.FAILED),
        (is_cancelled, ExecutionState.CANCELLED),
    ],
)
async def test_what_a_run_reported_is_gone_when_it_has_ended(
    docket: Docket, task: Any, state: ExecutionState
) -> None:
    execution = await docket.add(task, key="k")()
    await finish(docket)

    await execution.sync()
    assert execution.state is state
    assert values(execution.progress) == GONE
    assert values((await found(docket, "k")).progress) == GONE
    assert values(await ExecutionProgress.create(docket, "k")) == GONE


@pytest.mark.statement(26)
async def test_it_is_gone_on_the_object_of_the_run_too(docket: Docket) -> None:
    kept: list[Execution] = []

    async def keeps(execution: Execution = CurrentExecution()) -> None:
        await report(execution.progress)
        kept.append(execution)

    await docket.add(keeps)()
    await finish(docket)
    assert values(kept[0].progress) == GONE


@pytest.mark.statement(26)
async def test_what_was_reported_is_gone_when_the_task_is_cancelled_on_the_docket(
    docket: Docket,
) -> None:
    gate = Gate()

    async def stays(progress: Progress = Progress()) -> None:
        await report(progress)
        await gate.pass_through()

    running = await docket.add(stays, key="running")()
    waiting = await docket.add(stays, when=datetime.now(UTC) + LATER, key="waiting")()
    await report(waiting.progress)
    async with Worker(docket) as worker, at_work(worker):
        await soon(gate.reached.wait())
        for key in ("running", "waiting"):
            await docket.cancel(key)
        await failure_of(running)
    for execution in (running, waiting):
        await execution.sync()
        assert execution.state is ExecutionState.CANCELLED
        assert values(execution.progress) == GONE


Mark = Callable[[Execution], Awaitable[None]]


@pytest.mark.statement(26)
@pytest.mark.parametrize("claims", [True, False])
@pytest.mark.parametrize(
    "mark",
    [
        lambda execution: execution.mark_as_completed(),
        lambda execution: execution.mark_as_failed("no"),
        lambda execution: execution.mark_as_cancelled(),
    ],
)
async def test_it_is_gone_when_the_execution_is_ended_by_hand(
    docket: Docket, mark: Mark, claims: bool
) -> None:
    execution = await docket.add(nothing, key="k")()
    if claims:
        await execution.claim("me")
        assert values(execution.progress) == BEGUN
    await report(execution.progress)

    await mark(execution)

    assert values(execution.progress) == GONE
    await execution.sync()
    assert values(execution.progress) == GONE


@pytest.mark.statement(26)
async def test_each_attempt_begins_at_nothing(docket: Docket) -> None:
    seen: list[Any] = []

    async def twice(
        progress: Progress = Progress(),
        execution: Execution = CurrentExecution(),
        retry: Retry = Retry(attempts=3),
    ) -> None:
        seen.append((values(progress), values(execution.progress)))
        await execution.sync()
        seen.append((values(progress), values(execution.progress)))
        await report(progress)
        await progress.increment((progress.current or 0) + 1)
        if retry.attempt < 3:
            raise ValueError("again")

    execution = await docket.add(twice)()
    await report(execution.progress)
    await finish(docket)

    assert seen == [(BEGUN, BEGUN)] * 6


@pytest.mark.statement(26)
async def test_a_run_that_has_reported_nothing_is_seen_to_have_begun(docket: Docket) -> None:
    gate = Gate()
    execution = await docket.add(gate.pass_through)()
    await report(execution.progress)
    assert shown(execution.progress) == REPORTED
    async with Worker(docket) as worker, at_work(worker):
        await soon(gate.reached.wait())
        await execution.sync()
        assert values(execution.progress) == BEGUN
        gate.opened.set()


async def test_a_key_that_is_used_again_shows_nothing_of_before(docket: Docket) -> None:
    execution = await docket.add(nothing, key="k")()
    await finish(docket)
    await report(execution.progress)

    again = await docket.add(nothing, when=datetime.now(UTC) + LATER, key="k")()
    await again.sync()
    assert values(again.progress) == GONE


# Who may report it -------------------------------------------------------------------------------


async def scheduled(docket: Docket, key: str) -> None:
    await docket.add(nothing, when=datetime.now(UTC) + LATER, key=key)()


async def queued(docket: Docket, key: str) -> None:
    await docket.add(nothing, key=key)()


async def running(docket: Docket, key: str) -> None:
    await (await docket.add(nothing, key=key)()).claim("elsewhere")


async def ended(docket: Docket, key: str) -> None:
    await (await docket.add(nothing, key=key)()).mark_as_completed()


async def never_scheduled(docket: Docket, key: str) -> None: ...


@pytest.mark.statement(27)
@pytest.mark.parametrize("before", [scheduled, queued, running, ended, never_scheduled])
async def test_anybody_may_report_at_any_time(docket: Docket, before: Any) -> None:
    await before(docket, "k")
    reporters = [
        Execution(docket, nothing, (), {}, "k", datetime.now(UTC), 1).progress,
        ExecutionProgress(docket, "k"),
    ]
    if before is not never_scheduled:
        reporters.append((await found(docket, "k")).progress)
    for n, progress in enumerate(reporters, 1):
        await progress.set_total(7)
        await progress.increment(2)
        await progress.set_message(f"number {n}")

        assert shown(progress) == (2 * n, 7, f"number {n}")
        assert progress.updated_at is not None
        assert values(await ExecutionProgress.create(docket, "k")) == values(progress)
        other = Execution(docket, nothing, (), {}, "k", datetime.now(UTC), 1)
        await other.sync()
        assert values(other.progress) == values(progress)

    await reporters[0].set_message(None)
    assert reporters[0].message is None


@pytest.mark.statement(27)
async def test_what_is_reported_of_nothing_is_no_execution_and_expires(docket: Docket) -> None:
    await report(ExecutionProgress(docket, "k"))

    assert await docket.get_execution("k") is None
    assert (await docket.snapshot()).total_tasks == 0
    await docket.cancel("k")
    async with docket.redis() as redis:
        assert await redis.pttl(docket.runs_key("k")) > 0
    execution = await docket.add(nothing, key="k")()
    assert execution.generation == 1
    await finish(docket)
    assert await result_of(execution) is None


@pytest.mark.statement(27)
async def test_reports_from_many_sides_add_up(docket: Docket) -> None:
    gate = Gate()

    async def works(progress: Progress = Progress()) -> None:
        await progress.increment(5)
        await gate.pass_through()

    async with Worker(docket) as worker, at_work(worker):
        execution = await docket.add(works, key="k")()
        await soon(gate.reached.wait())
        await asyncio.gather(*[ExecutionProgress(docket, "k").increment() for _ in range(5)])
        await execution.progress.sync()
        assert execution.progress.current == 10
        gate.opened.set()
        await result_of(execution)


@pytest.mark.statement(27)
@pytest.mark.parametrize("amount", [0, -1])
async def test_what_is_less_than_one_is_refused(docket: Docket, amount: int) -> None:
    progress = ExecutionProgress(docket, "k")
    with pytest.raises(ValueError, match=r"^Total must be at least 1$"):
        await progress.set_total(amount)
    with pytest.raises(ValueError, match=r"^Amount must be at least 1$"):
        await progress.increment(amount)


# Who is told -------------------------------------------------------------------------------------


class Told:
    """The events that a subscriber of progress was told."""

    def __init__(self) -> None:
        self.events: list[ProgressEvent] = []
        self.ready = asyncio.Event()

    def currents(self) -> list[int | None]:
        return [event["current"] for event in self.events]

    async def listen(self, progress: ExecutionProgress) -> None:
        async for event in progress.subscribe(ready=self.ready):
            self.events.append(event)


@asynccontextmanager
async def listening(progress: ExecutionProgress) -> AsyncGenerator[Told]:
    told = Told()
    task = asyncio.create_task(told.listen(progress))
    try:
        await soon(told.ready.wait())
        yield told
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.statement(28)
async def test_a_subscriber_is_told_every_report_from_then_on_once_and_in_order(
    docket: Docket,
) -> None:
    async def counts(progress: Progress = Progress()) -> None:
        for _ in range(50):
            await progress.increment()
        await progress.set_message("all\x1fof them")

    execution = await docket.add(counts, key="k")()
    await report(execution.progress)

    async with listening(execution.progress) as told:
        await execution.progress.increment()
        await finish(docket)
        await execution.progress.increment(4)
        await until(lambda: told.currents()[-1:] == [4])

    assert told.currents() == [3, *range(1, 51), 50, 4]
    assert told.events[-2]["message"] == "all\x1fof them"
    for event in told.events:
        assert event["type"] == "progress"
        assert event["key"] == "k"
        assert datetime.fromisoformat(event["updated_at"] or "").tzinfo is not None
        assert set(event) == {"type", "key", "current", "total", "message", "updated_at"}


@pytest.mark.statement(28)
async def test_a_slow_subscriber_misses_nothing(docket: Docket) -> None:
    progress = ExecutionProgress(docket, "k")
    ready = asyncio.Event()
    events = progress.subscribe(ready)
    first = asyncio.ensure_future(anext(events))
    await soon(ready.wait())
    await asyncio.gather(*[progress.increment() for _ in range(1500)])

    told = [(await soon(first))["current"]]
    told += [(await soon(anext(events)))["current"] for _ in range(1499)]
    await events.aclose()

    assert told == list(range(1, 1501))


@pytest.mark.statement(28)
async def test_after_a_lost_connection_the_latest_is_told_and_nothing_twice(
    server: str, docket_name: str
) -> None:
    async with (
        Docket(docket_name, server) as reporting,
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url) as docket,
    ):
        await report(ExecutionProgress(reporting, "k"))
        async with listening(ExecutionProgress(docket, "k")) as told:
            proxy.cut()
            await ExecutionProgress(reporting, "k").increment()
            await until(lambda: told.currents() == [3])
            await ExecutionProgress(reporting, "k").increment()
            await until(lambda: told.currents() == [3, 4])


@pytest.mark.parametrize("lost", ["refused", "lost reply", "half open"])
async def test_a_task_goes_on_without_a_server_and_reports_the_newest_afterwards(
    server: str, docket_name: str, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.setattr(transitions, "PATIENCE_SECONDS", 0.2)
    is_lost, is_back, reported = asyncio.Event(), Gate(), Gate()

    async def task(progress: Progress = Progress()) -> str:
        await progress.set_total(50)
        await progress.increment()
        await is_lost.wait()
        await asyncio.gather(*[progress.increment(2) for _ in range(5)])
        await progress.set_message("far")
        await progress.set_total(20)
        shown = f"{progress.current}/{progress.total} {progress.message}"
        await is_back.pass_through()
        await reported.pass_through()
        return shown

    async with (
        Docket(docket_name, server) as looking,
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url) as docket,
    ):
        execution = await docket.add(task, key="k")()
        async with at_work(Worker(docket)):
            progress = ExecutionProgress(looking, "k")
            await until(lambda: _shows(progress, (1, 50, None)))
            if lost == "refused":
                await proxy.refuse()
                await until(lambda: not docket.connections.pipeline.is_connected)
            elif lost == "half open":
                proxy.half_open()
            else:
                proxy.intercept(calls(scripts.PROGRESS), Do.LOSE_REPLY)
            is_lost.set()
            await soon(is_back.reached.wait())
            if lost == "refused":
                await proxy.open()
            proxy.flow()
            await until(lambda: _shows(progress, (11, 20, "far")))
            is_back.opened.set()
            await soon(reported.reached.wait())
            reported.opened.set()
            assert await result_of(execution) == "11/20 far"


async def _shows(progress: ExecutionProgress, expected: tuple[Any, ...]) -> bool:
    await progress.sync()
    return shown(progress) == expected


async def test_a_report_that_the_server_refuses_fails_nothing(
    server: str, docket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def task(progress: Progress = Progress()) -> str:
        await progress.increment()
        return "done"

    async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
        proxy.intercept(calls(scripts.PROGRESS), Do.ANSWER, times=-1, error="ERR no such thing")
        execution = await docket.add(task, key="k")()
        async with at_work(Worker(docket)):
            assert await result_of(execution) == "done"
    assert "cannot be reported" in caplog.text


async def test_who_reports_from_outside_learns_that_the_server_is_away(
    server: str, docket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transitions, "PATIENCE_SECONDS", 0.1)
    async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
        await proxy.refuse()
        with pytest.raises(ServerUnavailable):
            await soon(ExecutionProgress(docket, "k").increment())
