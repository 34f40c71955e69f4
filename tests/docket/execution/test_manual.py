"""Executions scheduled, claimed and ended by hand, as a worker does it, without one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docket import (
    CurrentExecution,
    Disposition,
    Docket,
    Execution,
    ExecutionCancelled,
    ExecutionState,
)
from docket.errors import ResultUnavailable, TaskError
from tests.support.dockets import PATIENCE, finish, found

pytestmark = pytest.mark.anyio

LATER = timedelta(hours=1)


async def double(n: int) -> int:
    return 2 * n


def execution_of(docket: Docket, key: str = "k", *, delay: timedelta = -LATER) -> Execution:
    """Made by hand: nothing of it is stored yet. By default it is due at once."""
    docket.register(double)
    return Execution(docket, double, (21,), {}, key, datetime.now(UTC) + delay, 1)


async def record_of(docket: Docket, key: str = "k") -> dict[bytes, bytes]:
    return await docket.transitions.fetch(key)


async def left_to_run(docket: Docket) -> int:
    async with docket.redis() as redis:
        return await redis.xlen(docket.stream_key) + await redis.zcard(docket.queue_key)


@pytest.mark.statement(50)
def test_an_argument_is_found_by_the_name_of_its_parameter() -> None:
    async def task(a: int, b: int = 2, *rest: int, c: int = 3, d: object = None, **more: int): ...

    def execution(*args: object, **kwargs: object) -> Execution:
        return Execution(Docket(), task, args, kwargs, "k", datetime.now(UTC), 1)

    by_position = execution(1, 5, 6, 7, c=8, other=9)
    assert [by_position.get_argument(name) for name in ("a", "b", "c")] == [1, 5, 8]
    assert by_position.get_argument("rest") == (6, 7)
    assert by_position.get_argument("more") == {"other": 9}
    assert execution(b=4, a=1).get_argument("b") == 4
    assert execution(1, d=None).get_argument("d") is None
    for name in ("b", "c", "d", "rest", "more", "nobody"):
        with pytest.raises(KeyError, match=name):
            execution(1).get_argument(name)
    with pytest.raises(TypeError, match="multiple values"):
        execution(1, a=1).get_argument("a")


async def test_what_is_due_is_queued_and_what_is_not_is_scheduled(docket: Docket) -> None:
    now, later = execution_of(docket, "now"), execution_of(docket, "later", delay=LATER)

    assert await now.schedule() is Disposition.SCHEDULED
    assert await later.schedule() is Disposition.SCHEDULED

    assert (now.state, later.state) == (ExecutionState.QUEUED, ExecutionState.SCHEDULED)
    assert (now.generation, later.generation) == (1, 1)
    assert abs(later.when - (await found(docket, "later")).when) < timedelta(seconds=1)


async def test_a_worker_runs_what_was_scheduled_by_hand(docket: Docket) -> None:
    execution = execution_of(docket)
    await execution.schedule()

    await finish(docket)

    assert await execution.get_result(timeout=PATIENCE) == 42


async def test_a_key_that_is_taken_keeps_what_is_there(docket: Docket) -> None:
    first, second = execution_of(docket), execution_of(docket, delay=LATER)
    await first.schedule()

    assert await second.schedule() is Disposition.ALREADY_SCHEDULED
    assert (await found(docket, "k")).state is ExecutionState.QUEUED


async def test_a_claim_makes_it_run_and_begins_its_progress(docket: Docket) -> None:
    execution = execution_of(docket)
    await execution.schedule()
    assert execution.progress.current is None

    assert await execution.claim("host.example")

    stored = await found(docket, "k")
    for seen in (execution, stored):
        assert seen.state is ExecutionState.RUNNING
        assert seen.worker == "host.example"
        assert seen.started_at is not None
        assert (seen.progress.current, seen.progress.total) == (0, 100)


async def test_what_was_claimed_by_hand_is_run_by_nobody_else(docket: Docket) -> None:
    ran: list[str] = []

    async def note(key: str) -> None:
        ran.append(key)

    docket.register(note)
    for key, delay in {"queued": -LATER, "scheduled": LATER}.items():
        when = datetime.now(UTC) + delay
        execution = Execution(docket, note, (key,), {}, key, when, 1)
        await execution.schedule()
        assert await execution.claim("me")

    assert await left_to_run(docket) == 0
    await finish(docket)
    assert ran == []
    assert (await found(docket, "queued")).state is ExecutionState.RUNNING


async def test_only_one_of_those_who_claim_it_has_it(docket: Docket) -> None:
    first = execution_of(docket)
    await first.schedule()
    second = await found(docket, "k")

    assert await first.claim("one")
    assert not await second.claim("two")
    assert not await second.claim("one")
    assert await first.claim("one"), "it is the first one's already"
    assert (await found(docket, "k")).worker == "one"


async def test_a_claim_of_what_has_ended_or_was_replaced_is_refused(docket: Docket) -> None:
    ended, replaced = execution_of(docket, "ended"), execution_of(docket, "replaced")
    await ended.schedule()
    await ended.claim("me")
    await ended.mark_as_completed()
    await replaced.schedule()
    await execution_of(docket, "replaced").schedule(replace=True)

    assert not await ended.claim("me")
    assert not await replaced.claim("me")


async def test_a_claim_of_what_has_no_record_any_more_is_refused(docket: Docket) -> None:
    execution = execution_of(docket)
    await execution.schedule()
    async with docket.redis() as redis:
        await redis.delete(docket.runs_key("k"))

    assert not await execution.claim("me")
    assert await record_of(docket) == {}


async def test_what_was_never_scheduled_can_be_claimed_and_ended(docket: Docket) -> None:
    execution = execution_of(docket)

    assert await execution.claim("me")
    stored = await found(docket, "k")
    assert (stored.function_name, stored.args, stored.generation) == ("double", (21,), 1)

    await execution.mark_as_completed()
    assert (await found(docket, "k")).state is ExecutionState.COMPLETED


async def test_progress_is_reported_by_whoever_claimed_it(docket: Docket) -> None:
    execution = execution_of(docket)
    await execution.schedule()
    await execution.claim("me")

    await execution.progress.set_total(10)
    await execution.progress.increment(3)
    await execution.progress.set_message("three")

    elsewhere = await found(docket, "k")
    await execution.progress.increment()
    await elsewhere.progress.sync()
    assert (elsewhere.progress.current, elsewhere.progress.total) == (4, 10)
    assert elsewhere.progress.message == "three"
    assert elsewhere.progress.updated_at is not None


async def test_completed_by_hand_without_a_result_its_result_is_none(docket: Docket) -> None:
    execution = execution_of(docket)
    await execution.schedule()
    await execution.claim("me")

    await execution.mark_as_completed()

    assert execution.state is ExecutionState.COMPLETED
    assert execution.completed_at is not None
    assert await execution.get_result() is None
    async with docket.redis() as redis:
        assert (
            0
            < await redis.pttl(docket.runs_key("k"))
            <= docket.execution_ttl.total_seconds() * 1000
        )


@pytest.mark.statement(25)
@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("sold out", "sold out"),
        ("Exception: of\nthree\nlines", "Exception: of\nthree\nlines"),
        (None, "Task execution failed"),
        ("", "Task execution failed"),
    ],
)
async def test_failed_by_hand_its_result_is_an_error_with_exactly_that_text(
    docket: Docket, error: str | None, shown: str
) -> None:
    execution = execution_of(docket)
    await execution.schedule()
    await execution.claim("me")

    await execution.mark_as_failed(error)

    stored = await found(docket, "k")
    assert (stored.state, stored.error) == (ExecutionState.FAILED, error or None)
    for one in (stored, execution):
        with pytest.raises(TaskError) as raised:
            await one.get_result()
        assert str(raised.value) == shown


async def test_cancelled_by_hand_it_has_no_result(docket: Docket) -> None:
    execution = execution_of(docket)
    await execution.schedule()
    await execution.claim("me")

    await execution.mark_as_cancelled()

    with pytest.raises(ExecutionCancelled):
        await (await found(docket, "k")).get_result()


@pytest.mark.parametrize("delay", [-LATER, LATER], ids=["queued", "scheduled"])
@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
async def test_what_still_waits_ends_at_once_and_is_not_run(
    docket: Docket, end: str, delay: timedelta
) -> None:
    execution = execution_of(docket, delay=delay)
    await execution.schedule()

    await getattr(execution, f"mark_as_{end}")()

    assert await left_to_run(docket) == 0
    assert (await found(docket, "k")).state is ExecutionState(end)


async def test_an_end_stands(docket: Docket) -> None:
    execution = execution_of(docket)
    await execution.schedule()
    await execution.claim("me")
    await execution.mark_as_completed()
    before = await record_of(docket)

    await execution.mark_as_failed("too late")
    await execution.mark_as_cancelled()
    await execution.mark_as_completed("elsewhere")

    assert await record_of(docket) == before


async def test_nothing_is_kept_of_the_end_if_execution_ttl_is_zero(
    server: str, docket_name: str
) -> None:
    async with Docket(docket_name, server, execution_ttl=timedelta(0)) as docket:
        execution = execution_of(docket)
        await execution.schedule()
        await execution.claim("me")
        await execution.mark_as_completed()

        assert await record_of(docket) == {}
        with pytest.raises(ResultUnavailable):
            await execution.get_result()


async def test_a_result_key_without_a_storage_to_read_it_from_is_told(docket: Docket) -> None:
    execution = execution_of(docket)
    await execution.schedule()
    await execution.claim("me")
    await execution.mark_as_completed(result_key="somewhere")

    stored = await found(docket, "k")
    assert stored.result_key == "somewhere"
    with pytest.raises(
        ResultUnavailable, match="open the docket with the result_storage that has it"
    ):
        await stored.get_result()


class TestReschedulingARun:
    async def claimed(self, docket: Docket) -> Execution:
        execution = execution_of(docket)
        await execution.schedule()
        await execution.claim("me")
        return execution

    async def test_it_waits_again_as_the_same_execution(self, docket: Docket) -> None:
        execution = await self.claimed(docket)
        execution.when, execution.attempt = datetime.now(UTC) + LATER, 2

        assert (
            await execution.schedule(reschedule_message=execution.message_id)
            is Disposition.SCHEDULED
        )

        stored = await found(docket, "k")
        assert stored.state is ExecutionState.SCHEDULED
        assert (stored.generation, stored.attempt) == (1, 2)
        assert (stored.worker, stored.started_at) == (None, None)
        assert await execution.claim("me"), "it is known as the one that waits"

    async def test_what_is_due_is_run_by_a_worker(self, docket: Docket) -> None:
        execution = await self.claimed(docket)

        await execution.schedule(reschedule_message=execution.message_id)
        await finish(docket)

        assert await execution.get_result(timeout=PATIENCE) == 42

    async def test_a_run_of_somebody_else_stays_as_it_is(self, docket: Docket) -> None:
        execution = await self.claimed(docket)
        before = await record_of(docket)

        for message in ("s1-1", b"1-1", "nonsense", ""):
            assert await execution.schedule(reschedule_message=message) is Disposition.SUPERSEDED
        assert await record_of(docket) == before

    async def test_the_same_run_is_given_up_once(self, docket: Docket) -> None:
        execution = await self.claimed(docket)
        message = execution.message_id
        await execution.schedule(reschedule_message=message)

        assert await execution.schedule(reschedule_message=message) is Disposition.SUPERSEDED
        assert await left_to_run(docket) == 1

    async def test_a_run_that_was_cancelled_meanwhile_ends_so(self, docket: Docket) -> None:
        execution = await self.claimed(docket)
        await docket.cancel("k")

        with pytest.raises(ExecutionCancelled, match=r"^Execution k was cancelled"):
            await execution.schedule(reschedule_message=execution.message_id)

        assert execution.disposition is Disposition.FAILED
        assert (await found(docket, "k")).state is ExecutionState.CANCELLED
        assert await left_to_run(docket) == 0

    async def test_a_task_gives_its_own_run_up_and_goes_on_later(self, docket: Docket) -> None:
        attempts: list[int] = []

        async def waits(execution: Execution = CurrentExecution()) -> str:
            attempts.append(execution.attempt)
            if execution.attempt == 1:
                execution.attempt = 2
                message = (execution.message_id or "").encode()
                await execution.schedule(reschedule_message=message)
                return "the run that was given up"
            return "done"

        execution = await docket.add(waits)()
        await finish(docket)

        assert attempts == [1, 2]
        assert await execution.get_result(timeout=PATIENCE) == "done"
        assert execution.generation == 1


@pytest.mark.parametrize("key", ['it\'s "quoted"', "two\nlines", "nul\0", "unit\x1f", "x" * 10_000])
async def test_a_key_may_hold_anything(docket: Docket, key: str) -> None:
    execution = execution_of(docket, key)
    await execution.schedule()
    assert await execution.claim("me")
    await execution.schedule(reschedule_message=execution.message_id)
    assert await execution.claim("me")
    await execution.mark_as_completed()

    assert (await found(docket, key)).state is ExecutionState.COMPLETED


@pytest.mark.parametrize(("key", "error"), [(7, TypeError), ("\ud800", UnicodeEncodeError)])
async def test_what_cannot_be_a_key_is_refused(
    docket: Docket, key: Any, error: type[Exception]
) -> None:
    execution = execution_of(docket, key)

    for refused in (
        execution.schedule,
        lambda: execution.claim("me"),
        execution.mark_as_completed,
        lambda: execution.schedule(reschedule_message="s1-1"),
    ):
        with pytest.raises(error):
            await refused()


async def test_an_execution_is_used_again_after_its_end(docket: Docket) -> None:
    execution = execution_of(docket)
    for generation in (1, 2):
        assert await execution.schedule() is Disposition.SCHEDULED
        assert execution.generation == generation
        assert await execution.claim("me")
        await execution.mark_as_completed()
        assert (await found(docket, "k")).state is ExecutionState.COMPLETED
