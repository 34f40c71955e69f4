"""Pauses as users and workers see them: what is paused waits, and is not lost."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docket import Docket, ExecutionState, Perpetual, Worker
from docket.docket import Pause
from docket.errors import DocketError
from docket.store.pauses import MAX_PAUSES
from tests.support.dockets import Gate, at_work, finish, found, knowing, result_of, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio

ran = list[str]()
gate = Gate()


async def harmful(name: str) -> str:
    ran.append(name)
    return name


async def harmless(name: str) -> str:
    ran.append(name)
    return name


async def long(name: str) -> str:
    await gate.pass_through(name)
    return name


@pytest.fixture(autouse=True)
def knows(docket: Docket) -> None:
    """Make the docket know the tasks, and forget what ran before."""
    global gate  # It belongs to one loop, and so to one test.
    ran.clear()
    gate = Gate()
    knowing(docket, [harmful, harmless, long])


async def parked(docket: Docket, key: str) -> None:
    """Wait until a task was parked by its worker."""

    async def is_parked() -> bool:
        return (await found(docket, key)).state is ExecutionState.SCHEDULED

    await until(is_parked, "the parking")


# What waits -------------------------------------------------------------------------------------


async def test_tasks_of_a_paused_function_wait_until_it_is_resumed_and_the_others_run(
    docket: Docket,
) -> None:
    await docket.pause(harmful, reason="it deletes too much", by="ann")
    async with at_work(Worker(docket)):
        held = [await docket.add(harmful, key=f"{n}")(f"{n}") for n in range(3)]
        assert await result_of(await docket.add(harmless)("other")) == "other"
        await parked(docket, "2")
        assert ran == ["other"]

        assert await docket.resume(harmful) is True

        assert [await result_of(execution) for execution in held] == ["0", "1", "2"]
        assert ran == ["other", "0", "1", "2"]


async def test_a_pause_by_another_process_holds_at_once_on_a_worker_that_runs(
    docket: Docket, server: str
) -> None:
    async with Docket(docket.name, server) as elsewhere, at_work(Worker(docket)):
        assert await result_of(await docket.add(harmful)("before")) == "before"

        await elsewhere.pause("harmful")

        await docket.add(harmful, key="after")("after")
        await parked(docket, "after")
        assert ran == ["before"]


async def test_what_runs_goes_on_and_is_recorded(docket: Docket) -> None:
    async with at_work(Worker(docket)):
        running = await docket.add(long)("runs")
        await soon(gate.reached.wait())

        await docket.pause(long)
        await docket.pause()

        gate.opened.set()
        assert await result_of(running) == "runs"


async def test_a_pause_outlives_the_workers(docket: Docket) -> None:
    await docket.pause(harmful)
    await docket.add(harmful, key="k")("late")
    async with at_work(Worker(docket)):
        await parked(docket, "k")
    async with at_work(Worker(docket)):
        assert await result_of(await docket.add(harmless)("other")) == "other"
        assert ran == ["other"]
        await docket.resume(harmful)
        assert await result_of(await found(docket, "k")) == "late"


async def test_a_paused_docket_gives_out_nothing_until_it_is_resumed(docket: Docket) -> None:
    await docket.pause()
    async with at_work(Worker(docket, concurrency=1)), at_work(Worker(docket, concurrency=1)):
        held = [await docket.add(harmless, key=f"{n}")(f"{n}") for n in range(4)]
        states = {(await found(docket, execution.key)).state for execution in held}
        assert states == {ExecutionState.QUEUED}
        assert await docket.resume(harmless) is False

        assert await docket.resume() is True

        assert [await result_of(execution) for execution in held] == ["0", "1", "2", "3"]


async def test_a_perpetual_task_is_held_up_before_its_next_run_and_goes_on_after_it(
    docket: Docket,
) -> None:
    runs = asyncio.Queue[int]()

    async def again(n: int, perpetual: Perpetual = Perpetual()) -> None:
        runs.put_nowait(n)
        perpetual.perpetuate(n + 1)
        if n == 1:
            await docket.pause(again)

    docket.register(again)
    async with at_work(Worker(docket)):
        await docket.add(again, key="k")(1)
        assert await soon(runs.get()) == 1
        await parked(docket, "k")
        assert runs.empty()

        await docket.resume(again)

        assert await soon(runs.get()) == 2
        await docket.cancel("k")


async def test_what_is_parked_is_in_a_snapshot_and_can_be_cancelled(docket: Docket) -> None:
    await docket.pause(harmful)
    await docket.add(harmful, key="k")("never")
    async with at_work(Worker(docket)):
        await parked(docket, "k")
        assert [execution.key for execution in (await docket.snapshot()).future] == ["k"]

        await docket.cancel("k")

        assert (await found(docket, "k")).state is ExecutionState.CANCELLED
        await docket.resume(harmful)
        assert await result_of(await docket.add(harmful)("next")) == "next"
    assert ran == ["next"]


# Ends -------------------------------------------------------------------------------------------


async def test_a_pause_ends_by_itself_and_what_it_held_up_runs(docket: Docket) -> None:
    async with at_work(Worker(docket)):
        await docket.pause(harmful, until=timedelta(milliseconds=300))
        await docket.add(harmful, key="k")("late")
        await parked(docket, "k")

        assert await result_of(await found(docket, "k")) == "late"

        assert await docket.pauses() == []


async def test_a_pause_of_the_docket_ends_by_itself(docket: Docket) -> None:
    async with at_work(Worker(docket)):
        end = datetime.now(UTC) + timedelta(milliseconds=300)
        await docket.pause(until=end)

        await result_of(await docket.add(harmless, key="k")("late"))

        started = (await found(docket, "k")).started_at
        assert started is not None
        assert started >= end


async def test_a_worker_that_runs_until_finished_waits_for_a_pause_without_asking_all_the_time(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[int]()
    exchange = docket.transitions.exchange

    async def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return await exchange(*arguments, **options)

    monkeypatch.setattr(docket.transitions, "exchange", counted)
    await docket.add(harmful)("late")
    await docket.pause(harmful, until=timedelta(milliseconds=400))

    await finish(docket)

    assert ran == ["late"]
    assert len(calls) < 20


# What is told -----------------------------------------------------------------------------------


async def test_pauses_are_listed_with_end_reason_and_author_the_whole_docket_first(
    docket: Docket,
) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    earliest = datetime.now(UTC) - timedelta(seconds=10)
    await docket.pause(harmless)
    await docket.pause(harmful, until=end, reason="it deletes too much", by="ann")
    await docket.pause(until=timedelta(hours=2))

    everything, first, second = await docket.pauses()

    assert (everything.function, everything.reason, everything.by) == (None, None, None)
    assert everything.until is not None
    assert everything.until - everything.since == timedelta(hours=2)
    assert first == Pause("harmful", first.since, end, "it deletes too much", "ann")
    assert (second.function, second.until) == ("harmless", None)
    assert all(each.since > earliest for each in (everything, first, second))


async def test_to_pause_what_is_paused_changes_the_pause_and_tells_the_one_before(
    docket: Docket,
) -> None:
    assert await docket.pause(harmful, reason="first", by="ann") is None

    before = await docket.pause(harmful, until=timedelta(hours=1), reason="second")

    assert before is not None
    assert (before.reason, before.by, before.until) == ("first", "ann", None)
    (now,) = await docket.pauses()
    assert (now.since, now.reason, now.by) == (before.since, "second", None)


async def test_to_resume_what_is_not_paused_is_answered_with_false(docket: Docket) -> None:
    assert await docket.resume(harmful) is False
    assert await docket.resume() is False
    await docket.pause(harmful)

    assert await docket.resume() is False

    assert [pause.function for pause in await docket.pauses()] == ["harmful"]


async def test_a_name_that_nobody_knows_is_paused_with_a_warning(
    docket: Docket, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    await docket.pause("nowhere")
    assert "'nowhere', which is not registered here, and which no live worker" in caplog.text
    assert [pause.function for pause in await docket.pauses()] == ["nowhere"]

    caplog.clear()
    async with Docket(docket.name, server) as elsewhere, at_work(Worker(docket)):
        await elsewhere.pause("harmful")
    await docket.pause()
    assert not caplog.records


async def test_work_goes_on_though_somebody_overwrote_the_pauses(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    async with at_work(Worker(docket)):
        async with docket.redis() as redis:
            await redis.set(docket.key("pauses"), "foreign")

        assert await result_of(await docket.add(harmless)("still")) == "still"

    assert f"{docket.key('pauses')} was overwritten by somebody with a string" in caplog.text


@pytest.mark.parametrize("remove", [False, True])
async def test_what_is_parked_runs_though_somebody_changed_what_it_waits_for(
    docket: Docket, remove: bool
) -> None:
    await docket.pause(harmful)
    async with at_work(Worker(docket)):
        held = await docket.add(harmful, key="held")("held")
        await parked(docket, "held")
        async with docket.redis() as redis:
            await redis.hset(docket.runs_key("held"), "limits", b"foreign")
            if remove:
                await redis.delete(docket.key("pauses"))
        if not remove:
            await docket.resume(harmful)

        assert await result_of(held) == "held"


# Bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ({"until": datetime(2030, 1, 1)}, TypeError, "timezone-aware"),  # noqa: DTZ001
        ({"until": "tomorrow"}, TypeError, "until must be a datetime, not str"),
        ({"until": datetime(2020, 1, 1, tzinfo=UTC)}, ValueError, "past by the server's clock"),
        ({"until": timedelta(0)}, ValueError, "until must be in the future"),
        ({"until": -timedelta(days=1)}, ValueError, "until must be in the future"),
        ({"function": ""}, ValueError, "not empty"),
        ({"function": 5}, TypeError, "no name"),
        ({"reason": 5}, TypeError, "reason must be a str, not int"),
        ({"by": b"ann"}, TypeError, "by must be a str, not bytes"),
        ({"reason": "x" * 1001}, ValueError, "reason has 1001 characters"),
        ({"by": "\ud800"}, UnicodeEncodeError, "surrogates"),
    ],
)
async def test_what_makes_no_sense_pauses_nothing(
    docket: Docket, bad: dict[str, Any], error: type[Exception], message: str
) -> None:
    before = await docket.pause(harmful, reason="before")
    assert before is None

    with pytest.raises(error, match=message):
        await docket.pause(**{"function": harmful, **bad})

    assert [pause.reason for pause in await docket.pauses()] == ["before"]


async def test_a_remark_of_the_greatest_length_is_kept(docket: Docket) -> None:
    await docket.pause(reason="ü" * 1000, by="")

    (pause,) = await docket.pauses()

    assert (pause.reason, pause.by) == ("ü" * 1000, None)


async def test_there_is_a_most_of_pauses(docket: Docket) -> None:
    async with docket.redis() as redis:
        await redis.hset(
            docket.key("pauses"),
            mapping={f"f{n}": b"\x94\xa11\xa0\xa0\xa0" for n in range(MAX_PAUSES)},
        )

    with pytest.raises(DocketError, match="has 1000 pauses, the most there may be"):
        await docket.pause(harmful)
