"""Cooldown, Debounce and RateLimit on real workers."""

import time
from datetime import timedelta
from typing import Annotated

import pytest

from docket import Cooldown, Debounce, Docket, ExecutionState, RateLimit, Retry, Worker
from docket.store import scripts
from tests.support.counted_runs import calls_of
from tests.support.dockets import at_work, finish, knowing, result_of, soon
from tests.support.limits import Ledger, leftovers, states
from tests.support.proxy import Do, calls, proxy_to
from tests.support.store import until

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


async def test_a_cooldown_runs_the_first_and_drops_the_rest_of_its_window(docket: Docket) -> None:
    runs: list[int] = []

    async def task(i: int, cooldown: Cooldown = Cooldown(HOUR)) -> None:
        runs.append(i)

    for i in range(5):
        await docket.add(task, key=f"k{i}")(i)
    worker = await finish(docket, concurrency=1)

    assert runs == [0]
    assert await states(docket, "k0", "k1", "k4") == ["completed", "cancelled", "cancelled"]
    assert worker.counters.started == 1
    assert worker.counters.cancelled == 4


async def test_what_is_dropped_is_counted_so_even_if_a_renewal_sees_it_first(
    server: str, docket_name: str
) -> None:
    async def task(cooldown: Cooldown = Cooldown(HOUR)) -> None: ...

    async with (
        proxy_to(server) as proxy,
        knowing(Docket(docket_name, proxy.url), [task]) as docket,
        knowing(Docket(docket_name, server), [task]) as elsewhere,
    ):
        lease = timedelta(milliseconds=400)
        async with at_work(Worker(docket, concurrency=1, redelivery_timeout=lease)) as worker:
            await result_of(await elsewhere.add(task)())
            held = proxy.intercept(calls(scripts.ACQUIRE), Do.HOLD_REPLY)
            dropped = await elsewhere.add(task)()
            await soon(held.happened.wait())
            renewals = calls_of(proxy, scripts.RENEW)
            await until(lambda: len(renewals) == 2, "a renewal and its answer")
            held.retire.set()
            await until(lambda: worker.counters.cancelled == 1)
        await dropped.sync()
        assert dropped.state is ExecutionState.CANCELLED
        assert worker.counters.superseded == 0


async def test_a_task_is_not_dropped_by_the_marker_it_set_itself(docket: Docket) -> None:
    attempts: list[int] = []

    async def task(
        cooldown: Cooldown = Cooldown(HOUR),
        rate: RateLimit = RateLimit(1, per=HOUR, drop=True),
        retry: Retry = Retry(attempts=3),
    ) -> None:
        attempts.append(retry.attempt)
        if retry.attempt < 3:
            raise ValueError("again")

    execution = await docket.add(task)()
    await finish(docket)

    assert await result_of(execution) is None
    assert attempts == [1, 2, 3]


async def test_a_debounce_runs_the_first_one_once_it_is_quiet(docket: Docket) -> None:
    runs: list[tuple[int, float]] = []
    settle = timedelta(milliseconds=300)

    async def task(i: int, debounce: Debounce = Debounce(settle)) -> None:
        runs.append((i, time.time()))

    async with Worker(docket, concurrency=1) as worker, at_work(worker):
        first, *others = [await docket.add(task)(i) for i in range(3)]
        await until(lambda: worker.counters.cancelled == 2, "both that follow")
        last_came, last = time.time(), await docket.add(task)(3)
        await result_of(first)

    assert [i for i, _ in runs] == [0]
    assert runs[0][1] >= last_came + settle.total_seconds()
    assert await states(docket, *(e.key for e in [*others, last])) == ["cancelled"] * 3
    assert await leftovers(docket) == set()


async def test_a_debounce_runs_the_first_one_of_each_value(docket: Docket) -> None:
    runs: list[tuple[str, int]] = []

    async def task(
        name: Annotated[str, Debounce(timedelta(milliseconds=100))], revision: int
    ) -> None:
        runs.append((name, revision))

    for revision in range(2):
        for name in ("a", "b"):
            await docket.add(task)(name, revision)
    await finish(docket, concurrency=1)

    assert sorted(runs) == [("a", 0), ("b", 0)]


async def test_a_rate_is_kept_in_every_window_and_loses_nothing(docket: Docket) -> None:
    ledger = Ledger()
    window = timedelta(milliseconds=200)

    async def task(i: int, rate: RateLimit = RateLimit(3, per=window)) -> None:
        ledger.enter("task", i)

    for i in range(10):
        await docket.add(task)(i)
    await finish(docket)

    assert sorted(ledger.order(), key=str) == sorted(range(10), key=str)
    # The task writes down when it began, up to some milliseconds after it was admitted.
    assert ledger.most_within(window.total_seconds() * 0.8) <= 3
    assert await leftovers(docket) == set()


async def test_each_value_has_windows_of_its_own_and_several_stand_together(
    docket: Docket,
) -> None:
    runs: list[str] = []

    async def task(
        who: Annotated[
            str,
            Cooldown(HOUR),
            RateLimit(1, per=HOUR, drop=True),
            RateLimit(5, per=2 * HOUR, drop=True),
        ],
    ) -> None:
        runs.append(who)

    for who in ("ann", "bob", "ann"):
        await docket.add(task)(who)
    await finish(docket, concurrency=1)

    assert runs == ["ann", "bob"]
