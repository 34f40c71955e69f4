"""What each of the documented users does with a docket, all of it, as users of docket write it."""

import asyncio
from datetime import UTC, datetime, timedelta

from docket import (
    ConcurrencyLimit,
    Cooldown,
    CurrentDocket,
    Debounce,
    Docket,
    ExecutionState,
    Perpetual,
    Progress,
    RateLimit,
    Retry,
    TaskKey,
    Worker,
)
from docket.listing import Filter, ListedState
from docket.supervision import NOBODY
from tests.support.dockets import at_work, finish, knowing, result_of, soon

SOON = timedelta(milliseconds=20)
HOUR = timedelta(hours=1)
LEASE = timedelta(milliseconds=400)


async def double(number: int) -> int:
    return 2 * number


async def try_twice(retry: Retry = Retry(attempts=2)) -> str:
    if retry.attempt == 1:
        raise ValueError("at first")
    return "at last"


async def go_on(perpetual: Perpetual = Perpetual(every=SOON)) -> None:
    """Ends with `run_at_most`."""


async def advance(progress: Progress = Progress()) -> None:
    await progress.set_total(2)
    await progress.increment()
    await progress.set_message("half")


async def one_at_a_time(limit: ConcurrencyLimit = ConcurrencyLimit()) -> None:
    await asyncio.sleep(0)


async def once(cooldown: Cooldown = Cooldown(HOUR)) -> None:
    """The others are dropped."""


async def rarely(rate: RateLimit = RateLimit(1, per=HOUR, drop=True)) -> None:
    """The others are dropped."""


async def slowly(rate: RateLimit = RateLimit(2, per=SOON)) -> None:
    """The others come later."""


async def settled(debounce: Debounce = Debounce(SOON)) -> None:
    """The last one runs."""


async def for_long() -> None:
    await asyncio.sleep(3600)


async def past_its_lease() -> str:
    """Twice as long as a lease: it is renewed, and the steward sweeps meanwhile."""
    await asyncio.sleep(2 * LEASE.total_seconds())
    return "still mine"


async def fail_until_retried(docket: Docket = CurrentDocket(), key: str = TaskKey()) -> str:
    details = await docket.describe(key)
    assert details is not None
    if details.summary.predecessor is None:
        raise ValueError("at first")
    return "mended"


WINDOWS = [once, rarely, slowly, settled]
TASKS = [
    *(double, try_twice, go_on, advance, one_at_a_time, for_long, past_its_lease),
    *(fail_until_retried, *WINDOWS),
]


def docket_at(url: str, name: str) -> Docket:
    docket = Docket(name, url, heartbeat_interval=timedelta(milliseconds=100), missed_heartbeats=3)
    return knowing(docket, TASKS)


async def produce(docket: Docket) -> None:
    """All that a producer does."""
    later = datetime.now(UTC) + HOUR
    await docket.add(double, key="doubled")(1)
    await docket.add(double, when=later, key="later")(2)
    await docket.add(double, key="doubled")(1)
    await docket.replace(double, when=later, key="doubled")(3)
    await docket.add_many([docket.call(double, key=f"many-{n}")(n) for n in range(3)])
    execution = await docket.get_execution("later")
    assert execution is not None
    async with asyncio.timeout(20):
        async for event in execution.subscribe():
            assert event["key"] == "later"
            break
    await docket.cancel("later")
    await docket.cancel("many-0")
    await execution.sync()
    assert execution.state is not None


async def observe(docket: Docket) -> None:
    """All that one does who only looks."""
    snapshot = await docket.snapshot()
    assert snapshot.total_tasks > 0
    await docket.workers()
    await docket.task_workers("double")
    assert all(pause.reason == "told" for pause in await docket.pauses())
    assert all(strike.reason == "told" for strike in await docket.strikes())
    assert (await docket.backlog()).queued > 0
    await docket.statistics(HOUR)
    await docket.statistics(timedelta(hours=24))
    await _observe_executions(docket)
    execution = await docket.get_execution("doubled")
    assert execution is not None
    async with asyncio.timeout(20):
        async for event in execution.subscribe():
            assert event["key"] == "doubled"
            break


async def _observe_executions(docket: Docket) -> None:
    listed = await docket.executions(limit=2)
    assert listed.cursor is not None
    assert (await docket.executions(limit=2, cursor=listed.cursor)).executions
    later = datetime.now(UTC) + 2 * HOUR
    for state in ListedState:
        await docket.executions(state, until=later)
    details = await docket.describe("doubled")
    assert details is not None
    assert details.summary.function == "double"
    counts = await docket.counts()
    assert sum(counts.by_state.values()) >= len(listed.executions)


async def act(docket: Docket) -> None:
    """All that an operator does with executions."""
    for key in ("failed-0", "failed-1", "failed-2"):
        await docket.add(fail_until_retried, key=key)()
    await finish(docket)
    await docket.retry("failed-0")
    result = await docket.retry_matching(Filter.of("failed", function="fail_until_retried"))
    assert result.done == 2
    for number in range(4):
        await docket.add(double, when=datetime.now(UTC) + HOUR, key=f"later-{number}")(number)
    await docket.reschedule("later-0", datetime.now(UTC) + SOON)
    await docket.run_now("later-1")
    assert (await docket.run_matching_now(Filter.of("scheduled", key_prefix="later-2"))).done == 1
    assert (await docket.cancel_matching(Filter.of("scheduled", key_prefix="later-3"))).done == 1
    await finish(docket)
    assert (await docket.executions("failed")).executions == ()


async def work(docket: Docket) -> None:
    """All that a worker does, and all that the rest do."""
    docket.execution_ttl = timedelta(minutes=5)
    await _run_every_kind(docket)
    await _cancel_what_runs(docket)
    await _adopt(docket)
    await docket.strike("double", "number", "==", 9)
    await docket.restore("double", "number", "==", 9)
    await docket.strike("double", "number", "==", 8, reason="told", by="a test")
    await _pause_and_resume(docket)
    await act(docket)
    await docket.pause("double", until=HOUR, reason="told", by="a test")
    await produce(docket)
    await observe(docket)
    await docket.clear()


async def _run_every_kind(docket: Docket) -> None:
    for task in (try_twice, go_on, advance):
        await docket.add(task, key=task.__name__)()
    await docket.add(double, when=datetime.now(UTC) + SOON, key="soon")(1)
    for number in range(3):
        await docket.add(one_at_a_time, key=f"one-{number}")()
        for task in WINDOWS:
            await docket.add(task, key=f"{task.__name__}-{number}")()
    async with Worker(docket, redelivery_timeout=LEASE) as worker:
        await soon(worker.run_at_most({"go_on": 2}))
    assert (await docket.statistics()).functions["try_twice"].runs == 2
    done = await docket.get_execution("try_twice")
    assert done is not None
    assert await result_of(done) == "at last"


async def _cancel_what_runs(docket: Docket) -> None:
    execution = await docket.add(for_long, key="long")()
    keeps = await docket.add(past_its_lease, key="keeps")()
    async with at_work(Worker(docket, redelivery_timeout=LEASE)), asyncio.timeout(20):
        async for event in execution.subscribe():
            if event["type"] == "state" and event["state"] is ExecutionState.RUNNING:
                break
        await docket.cancel("long")
        assert await result_of(keeps) == "still mine"
    await execution.sync()
    assert execution.state is ExecutionState.CANCELLED


async def _pause_and_resume(docket: Docket) -> None:
    await docket.pause("nowhere", until=HOUR)
    await docket.pause("double")
    await docket.add(double, key="paused")(5)
    async with at_work(Worker(docket)):
        other = await docket.add(try_twice)()
        assert await result_of(other) == "at last"
        paused = await docket.get_execution("paused")
        assert paused is not None
        assert paused.state is ExecutionState.SCHEDULED
        await docket.pause("double", until=SOON)
        assert await result_of(paused) == 10
    await docket.pause()
    assert await docket.resume()
    assert await docket.resume("nowhere")


async def _adopt(docket: Docket) -> None:
    """By hand: a consumer that claims, and is gone."""
    await docket.add(double, key="orphan")(4)
    records, gone = docket.transitions, "gone.1"
    await records.register(gone, ["double"], timedelta(minutes=1))
    await records.exchange(gone, 1, 1, [], may_take_quarantined=True, census=False)
    epoch = await records.raise_epoch(gone)
    await records.reclaim(gone, epoch, [])
    worker = Worker(docket)
    await worker.adopt(gone, blame=NOBODY)
    await finish(docket)
