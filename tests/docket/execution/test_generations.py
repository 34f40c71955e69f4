"""Several executions of one key: the record shows the newest, and an older one changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from docket import Disposition, Docket, Execution, ExecutionState, Worker
from docket.dependencies import CurrentExecution
from docket.errors import ResultUnavailable
from tests.support.dockets import PATIENCE, Gate, at_work, finish, found, soon, to_its_end

pytestmark = pytest.mark.anyio


async def name(which: str) -> str:
    return which


def execution_of(docket: Docket, which: str) -> Execution:
    docket.register(name)
    return Execution(docket, name, (which,), {}, "k", datetime.now(UTC), 1)


async def claimed(docket: Docket, which: str = "old") -> Execution:
    execution = execution_of(docket, which)
    await execution.schedule()
    assert await execution.claim("me")
    return execution


async def test_a_run_that_was_replaced_is_superseded_and_its_successor_is_not(
    docket: Docket,
) -> None:
    old, new = await claimed(docket), execution_of(docket, "new")
    assert not await old.is_superseded()

    await new.schedule(replace=True)

    assert await old.is_superseded()
    assert not await new.is_superseded()
    assert (old.generation, new.generation) == (1, 2)


async def test_what_was_never_scheduled_is_not_superseded(docket: Docket) -> None:
    await claimed(docket)

    assert not await execution_of(docket, "by hand").is_superseded()


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
async def test_a_replaced_run_that_ends_last_changes_nothing(docket: Docket, end: str) -> None:
    old, new = await claimed(docket), execution_of(docket, "new")
    await new.schedule(replace=True)
    before = await docket.transitions.fetch("k")

    await getattr(old, f"mark_as_{end}")()
    await old.progress.increment()

    assert await docket.transitions.fetch("k") == before
    await finish(docket)
    assert await new.get_result(timeout=PATIENCE) == "new"


async def test_what_is_no_run_becomes_the_newest_when_it_is_read_again(docket: Docket) -> None:
    old, new = execution_of(docket, "old"), execution_of(docket, "new")
    await old.schedule()
    await new.schedule(replace=True)
    assert await old.is_superseded()

    await old.sync()

    assert old.generation == 2
    assert await old.claim("me")


async def test_a_replaced_run_that_was_read_again_is_still_the_old_one(docket: Docket) -> None:
    old, new = await claimed(docket), execution_of(docket, "new")
    await new.schedule(replace=True)

    await old.sync()

    assert old.state is ExecutionState.QUEUED, "the record shows the newest"
    assert old.generation == 1
    assert await old.is_superseded()
    assert not await old.claim("me")


async def test_an_older_generation_than_expected_is_not_scheduled(docket: Docket) -> None:
    first = execution_of(docket, "first")
    await first.schedule()
    await execution_of(docket, "second").schedule(replace=True)

    late = execution_of(docket, "late")
    assert await late.schedule(replace=True, expected_generation=1) is Disposition.SUPERSEDED
    assert (await found(docket, "k")).args == ("second",)
    assert await late.schedule(replace=True, expected_generation=2) is Disposition.SCHEDULED
    assert (await found(docket, "k")).args == ("late",)


async def test_an_execution_that_was_found_superseded_stays_so(docket: Docket) -> None:
    old = await claimed(docket)
    await execution_of(docket, "new").schedule(replace=True)

    assert await old.schedule(replace=True, expected_generation=1) is Disposition.SUPERSEDED
    assert await old.is_superseded()


async def test_a_reused_key_shows_nothing_of_its_previous_run(docket: Docket) -> None:
    old = await claimed(docket)
    await old.progress.set_message("half way")
    await old.mark_as_failed("sold out", result_key="somewhere")

    again = execution_of(docket, "again")
    assert await again.schedule() is Disposition.SCHEDULED

    stored = await found(docket, "k")
    assert stored.generation == 2
    assert (stored.error, stored.result_key, stored.completed_at) == (None, None, None)
    assert (stored.worker, stored.progress.message) == (None, None)
    async with docket.redis() as redis:
        assert await redis.pttl(docket.runs_key("k")) == -1


async def test_a_key_that_never_had_to_be_scheduled_is_reused_as_well(docket: Docket) -> None:
    old = await claimed(docket)
    await old.mark_as_failed("sold out")

    again = execution_of(docket, "again")
    assert await again.claim("me")

    assert again.generation == 2
    assert (await found(docket, "k")).error is None


async def test_a_task_that_replaces_itself_runs_on_as_the_old_execution(docket: Docket) -> None:
    seen: list[tuple[int, bool]] = []

    async def countdown(n: int, execution: Execution = CurrentExecution()) -> int:
        async def count() -> None:
            if n > 0:
                await docket.replace(countdown, datetime.now(UTC), "countdown")(n - 1)
            seen.append((n, await execution.is_superseded()))

        await to_its_end(count())
        return n

    await docket.add(countdown, key="countdown")(2)
    await finish(docket)

    assert seen == [(2, True), (1, True), (0, False)]
    last = await found(docket, "countdown")
    assert (last.generation, await last.get_result()) == (3, 0)


async def test_a_run_that_replaces_itself_by_hand_ends_without_a_word(docket: Docket) -> None:
    runs: list[int] = []

    async def again(execution: Execution = CurrentExecution()) -> str:
        runs.append(execution.generation)
        if execution.generation == 1:
            assert await execution.schedule(replace=True) is Disposition.SCHEDULED
            assert execution.generation == 1
            assert await execution.is_superseded()
            return "old"
        return "new"

    execution = await docket.add(again)()
    await finish(docket)

    assert runs == [1, 2]
    newest = await found(docket, execution.key)
    assert await newest.get_result(timeout=PATIENCE) == "new"
    with pytest.raises(ResultUnavailable, match="was used again"):
        await execution.get_result(timeout=PATIENCE)


async def test_a_key_that_is_added_while_it_runs_keeps_its_run(docket: Docket) -> None:
    gate = Gate()

    async def held() -> str:
        await gate.pass_through()
        return "first"

    first = await docket.add(held, key="k")()
    async with Worker(docket) as worker, at_work(worker):
        await soon(gate.reached.wait())
        second = await docket.add(held, key="k")()
        gate.opened.set()
        assert await second.get_result(timeout=PATIENCE) == "first"

    assert second.disposition is Disposition.ALREADY_SCHEDULED
    assert first.generation == second.generation == 1
    assert len(gate.arrivals) == 1


async def test_a_cancelled_key_is_free_at_once(docket: Docket) -> None:
    first = execution_of(docket, "first")
    await first.schedule()
    await docket.cancel("k")

    second = execution_of(docket, "second")
    assert await second.schedule() is Disposition.SCHEDULED

    assert await first.is_superseded()
    await first.mark_as_completed()
    await finish(docket)
    assert await second.get_result(timeout=timedelta(seconds=1)) == "second"


async def test_a_worker_gives_up_what_was_ended_by_hand_under_it(docket: Docket) -> None:
    gate = Gate()

    async def held() -> str:
        await gate.pass_through()
        return "too late"

    await docket.add(held, key="k")()
    async with Worker(docket) as worker, at_work(worker):
        await soon(gate.reached.wait())
        await (await found(docket, "k")).mark_as_failed("by hand")
        gate.opened.set()
        other = await docket.add(name)("other")
        await other.get_result(timeout=PATIENCE)

    stored = await found(docket, "k")
    assert (stored.state, stored.error) == (ExecutionState.FAILED, "by hand")
    async with docket.redis() as redis:
        assert await redis.xlen(docket.stream_key) == 0


async def test_an_execution_whose_record_is_gone_shows_nothing_of_it_any_more(
    docket: Docket,
) -> None:
    execution = await docket.add(name, key="k")("gone")
    await execution.claim("w")
    await execution.progress.increment()
    await execution.mark_as_failed("the reason", "somewhere")
    await execution.sync()
    assert execution.state is ExecutionState.FAILED
    assert None not in (execution.worker, execution.error, execution.completed_at)

    async with docket.redis() as redis:
        await redis.delete(docket.runs_key("k"))
    await execution.sync()

    assert execution.state is ExecutionState.SCHEDULED
    assert execution.worker is None
    assert execution.started_at is None
    assert execution.completed_at is None
    assert execution.error is None
    assert execution.result_key is None
    assert execution.progress.current is None
    assert execution.progress.message is None
    assert execution.progress.updated_at is None
