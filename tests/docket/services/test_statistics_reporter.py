"""The statistics of real workers: handed in while they run, at their end, and never twice."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docket import Docket, Retry, Worker
from docket.services import statistics_reporter
from docket.statistics import Statistics
from docket.store import scripts
from tests.support.dockets import at_work, finish, result_of, soon
from tests.support.proxy import Do, calls, proxy_to
from tests.support.store import until

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)


async def greet() -> None:
    pass


async def fail_twice(retry: Retry = Retry(attempts=3)) -> None:
    if retry.attempt < 3:
        raise ValueError("not yet")


def counted(statistics: Statistics, function: str = "greet") -> int:
    found = statistics.functions.get(function)
    return 0 if found is None else found.runs


async def test_what_a_worker_did_is_there_when_it_has_ended(docket: Docket) -> None:
    for _ in range(5):
        await docket.add(greet)()
    await docket.add(fail_twice)()

    await finish(docket)

    statistics = await docket.statistics()
    assert set(statistics.functions) == {"greet", "fail_twice"}
    greeted, failed = statistics.functions["greet"], statistics.functions["fail_twice"]
    assert (greeted.runs, greeted.succeeded, greeted.failure_rate) == (5, 5, 0)
    assert (failed.runs, failed.failed, failed.retried, failed.succeeded) == (3, 2, 2, 1)
    assert greeted.waiting is not None
    assert greeted.waiting.count == 5
    assert greeted.running is not None
    assert greeted.running.count == 5
    assert statistics.total.runs == 8


async def test_the_sums_are_those_of_every_worker(docket: Docket) -> None:
    for _ in range(3):
        await docket.add(greet)()
        await finish(docket)

    assert counted(await docket.statistics()) == 3
    assert counted(await docket.statistics(timedelta(hours=24))) == 3


async def test_a_worker_that_goes_on_reports_meanwhile(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics_reporter, "INTERVAL_SECONDS", 0.01)
    docket.register(greet)
    async with at_work(Worker(docket)):
        for expected in (1, 2):
            await result_of(await docket.add(greet)())

            async def is_told(expected: int = expected) -> bool:
                return counted(await docket.statistics()) == expected

            await until(is_told)


async def test_a_worker_that_did_nothing_writes_nothing(docket: Docket) -> None:
    docket.register(greet)
    async with at_work(Worker(docket)):
        pass

    client: Any = docket.connections.client()
    assert [key async for key in client.scan_iter(f"{docket.prefix}:stats*")] == []


async def test_a_docket_that_keeps_no_statistics_has_none(server: str, docket_name: str) -> None:
    async with Docket(docket_name, server, keep_statistics=timedelta(0)) as docket:
        await docket.add(greet)()
        await finish(docket)

        with pytest.raises(ValueError, match="keep_statistics"):
            await docket.statistics()
    async with Docket(docket_name, server) as docket:
        assert counted(await docket.statistics()) == 0


async def test_a_report_without_an_answer_is_not_sent_again(server: str, docket_name: str) -> None:
    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url) as docket,
        Docket(docket_name, server) as beside,
    ):
        await docket.add(greet)()
        await finish(docket)  # The server knows the script from here on.
        lost = proxy.intercept(calls(scripts.ADD_STATISTICS), Do.LOSE_REPLY)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(statistics_reporter, "INTERVAL_SECONDS", 0.01)
            async with at_work(Worker(docket)):
                await result_of(await docket.add(greet)())
                await soon(lost.happened.wait())
                await result_of(await docket.add(greet)())

                async def are_all_told() -> bool:
                    return counted(await beside.statistics()) == 3

                await until(are_all_told)
        assert counted(await beside.statistics()) == 3


async def test_what_could_not_be_sent_goes_with_the_next_report(
    server: str, docket_name: str
) -> None:
    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url) as docket,
        Docket(docket_name, server) as beside,
    ):
        loading = proxy.intercept(
            calls(scripts.ADD_STATISTICS), Do.ANSWER, times=2, error="LOADING the data set"
        )
        docket.register(greet)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(statistics_reporter, "INTERVAL_SECONDS", 0.01)
            async with at_work(Worker(docket)):
                await result_of(await docket.add(greet)())
                await soon(loading.happened.wait())

                async def is_told() -> bool:
                    return counted(await beside.statistics()) == 1

                await until(is_told)


async def test_a_server_that_refuses_them_does_not_end_the_worker(
    server: str,
    docket_name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(statistics_reporter, "INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(statistics_reporter, "REFUSED_SECONDS", 0.01)
    async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
        proxy.intercept(calls(scripts.ADD_STATISTICS), Do.ANSWER, times=-1, error="ERR no")
        docket.register(greet)
        async with at_work(Worker(docket)):
            await result_of(await docket.add(greet)())
            await until(lambda: "Statistics are not recorded for a minute" in caplog.text)
            await result_of(await docket.add(greet)())


@pytest.mark.parametrize(
    ("over", "error"),
    [
        (timedelta(0), ValueError),
        (timedelta(hours=-1), ValueError),
        (timedelta(hours=26), ValueError),
        (3600, TypeError),
    ],
)
async def test_a_time_that_is_not_kept_is_refused(
    docket: Docket, over: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="over must be"):
        await docket.statistics(over)


async def test_the_period_begins_with_a_full_minute_and_ends_now(docket: Docket) -> None:
    before = datetime.now(UTC)

    statistics = await docket.statistics(timedelta(minutes=5))

    assert statistics.since.second == 0
    assert MINUTE * 5 <= statistics.period <= MINUTE * 6 + timedelta(seconds=1)
    assert abs(statistics.until - before) < timedelta(seconds=20)


@pytest.mark.parametrize("keep", [timedelta(hours=-1), "a day"])
def test_a_time_to_keep_that_is_none_is_refused(keep: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="keep_statistics must"):
        Docket(keep_statistics=keep)


async def test_tasks_that_run_in_many_workers_at_once_count_once(docket: Docket) -> None:
    docket.register(greet)
    async with at_work(Worker(docket)), at_work(Worker(docket)), at_work(Worker(docket)):
        executions = await asyncio.gather(*(docket.add(greet)() for _ in range(50)))
        for execution in executions:
            await result_of(execution)

    assert counted(await docket.statistics()) == 50
