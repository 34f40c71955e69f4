"""The sums of workers on the server: what is added, for how long it stays, what is read."""

from datetime import timedelta
from typing import Any

import pytest

from docket.instrumentation.counters import MAX_NAMES, OTHERS, Counters
from docket.store import statistics
from docket.store.statistics import (
    COUNTERS_A_CALL,
    MAX_FIELDS,
    Difference,
    StatisticsStore,
    counters_of,
    in_calls,
    numbers_of,
)
from tests.support.store import Store

pytestmark = pytest.mark.anyio

DAY = timedelta(hours=24)
HOUR = timedelta(hours=1)


def statistics_at(store: Store, kept: timedelta = DAY) -> StatisticsStore:
    return StatisticsStore(store.connections.pipeline, store.keys, kept)


async def hashes(store: Store, length: int) -> list[bytes]:
    client: Any = store.client
    pattern = f"{store.keys.statistics_prefix}:{length}:*"
    return [name async for name in client.scan_iter(match=pattern)]


def some_counters() -> Counters:
    counters = Counters(started=5, succeeded=3, failed=2, retried=1)
    for seconds in (0.002, 0.02, 7200.0):
        counters.duration.observe(seconds)
    counters.punctuality.observe(0.5)
    return counters


async def test_numbers_and_counters_are_the_same() -> None:
    counters = some_counters()

    assert counters_of(numbers_of(counters)) == counters


@pytest.mark.parametrize("over", [HOUR, DAY])
async def test_what_was_added_is_read_again_over_an_hour_and_over_a_day(
    store: Store, over: timedelta
) -> None:
    stored = statistics_at(store)
    await stored.add([(b"f", [("s", 2), ("D3", 1), ("D", 1500)])], 5)
    await stored.add([(b"f", [("s", 1)]), (b"name with spaces", [("f", 4)])], 5)

    since, until, functions = await stored.read(over)

    assert set(functions) == {"f", "name with spaces"}
    assert functions["f"].started == 3
    assert functions["f"].duration.counts[3] == 1
    assert functions["f"].duration.sum == pytest.approx(0.0015)
    assert functions["name with spaces"].failed == 4
    assert until - since >= over.total_seconds()
    assert since % (60 if over == HOUR else 900) == 0


async def test_sums_end_with_the_time_for_which_they_are_kept(store: Store) -> None:
    await statistics_at(store, kept=timedelta(hours=5)).add([(b"f", [("s", 1)])], 5)

    seconds = {
        length: await store.client.ttl(name)
        for length in (60, 900)
        for name in await hashes(store, length)
    }
    assert seconds[60] == pytest.approx(2.25 * 3600, abs=60)
    assert seconds[900] == pytest.approx(5.25 * 3600, abs=60)


async def test_a_period_before_the_time_that_is_asked_for_does_not_count(store: Store) -> None:
    now = await store.now() // 1000
    stored = statistics_at(store)
    for seconds_ago, amount in ((7200 + 60, 1), (1800, 10), (60, 100)):
        start = now - seconds_ago
        name = store.keys.statistics(60, start - start % 60)
        await store.client.hset(name, "s f", str(amount))

    _, _, functions = await stored.read(HOUR)

    assert functions["f"].started == 110


async def test_no_more_functions_are_told_apart_than_there_is_room_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "MAX_FIELDS", 2)
    stored = statistics_at(store)
    await stored.add([(b"one", [("s", 1)]), (b"two", [("s", 1)])], 5)

    await stored.add([(b"three", [("s", 1)]), (b"two", [("s", 1)]), (b"four", [("s", 1)])], 5)

    _, _, functions = await stored.read(HOUR)
    assert {name: each.started for name, each in functions.items()} == {
        "one": 1,
        "two": 2,
        OTHERS: 2,
    }
    assert MAX_FIELDS >= MAX_NAMES


async def test_a_key_that_somebody_overwrote_is_left_out_and_told(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    stored = statistics_at(store)
    await stored.add([(b"f", [("s", 1)])], 5)
    for name in await hashes(store, 60):
        await store.client.set(name, "overwritten")

    await stored.add([(b"f", [("s", 1)])], 5)
    _, _, by_minute = await stored.read(HOUR)
    _, _, by_quarter = await stored.read(DAY)

    assert sum(each.started for each in by_minute.values()) <= 1
    assert by_quarter["f"].started == 2
    assert "was overwritten by somebody with a string" in caplog.text


async def test_fields_that_are_none_of_ours_are_left_out(store: Store) -> None:
    stored = statistics_at(store)
    await stored.add([(b"f", [("s", 1)])], 5)
    for name in await hashes(store, 60):
        await store.client.hset(
            name, mapping={"later_code f": "1", "o f": "text", b"\xff": "1", "s": "1"}
        )

    _, _, functions = await stored.read(HOUR)

    assert functions["f"] == Counters(started=1)


def test_many_functions_are_divided_into_calls() -> None:
    differences: list[Difference] = [
        (f"f{number}".encode(), [("s", 1)] * 30) for number in range(100)
    ]

    batches = list(in_calls(differences))

    assert [each for batch in batches for each in batch] == differences
    sizes = [sum(len(added) for _, added in batch) for batch in batches]
    assert max(sizes) <= COUNTERS_A_CALL
    assert len(batches) == 4


async def test_a_full_call_takes_the_server_a_few_milliseconds(store: Store) -> None:
    stored = statistics_at(store)
    differences: list[Difference] = [
        (f"module.function_{number}".encode(), [(f"D{at}", 1) for at in range(18)])
        for number in range(COUNTERS_A_CALL // 18)
    ]
    taken: list[int] = []
    client: Any = store.client
    for _ in range(10):
        before = (await client.info("commandstats"))["cmdstat_evalsha"]["usec"]
        await stored.add(differences, 5)
        taken.append((await client.info("commandstats"))["cmdstat_evalsha"]["usec"] - before)

    assert min(taken) < 20_000
