"""The numbers of executions by state and function: exact for few, an unbiased estimate of many."""

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from docket import Docket, Worker
from docket.listing import Counts, ListedState
from docket.listing.counts import Census
from docket.store.keys import WORKER_GROUP
from tests.support.dockets import soon

pytestmark = pytest.mark.anyio

SEEDS = 20


async def send(number: int) -> None: ...


async def bill(number: int) -> None: ...


async def fail(number: int) -> None:
    raise ValueError("bad")


@pytest.fixture
def few_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docket.listing.counts.SAMPLE", 200)


def in_hours(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


async def schedule(docket: Docket, task: str, number: int, hours: float) -> None:
    await docket.add_many(
        [docket.call(task, in_hours(hours), f"{task}-{n}")(n) for n in range(number)]
    )


async def counted(docket: Docket, seed: int) -> Counts:
    return await Census(docket, random.Random(seed)).counts()


async def averages(docket: Docket, state: ListedState) -> tuple[dict[str, float], float]:
    """The mean estimate of each function over some seeds, and the worst error of a single one."""
    every = [(await counted(docket, seed)).by_function[state] for seed in range(SEEDS)]
    names = {name for each in every for name in each}
    means = {name: sum(each.get(name, 0) for each in every) / SEEDS for name in names}
    return means, max(abs(each.get(n, 0) - means[n]) for each in every for n in names)


async def put_in_stream(docket: Docket, entries: Iterable[tuple[str, str]]) -> None:
    """Queue tasks as if they had been added then: ids, and the functions of the tasks."""
    client = docket.connections.client()
    async with client.pipeline(transaction=False) as pipeline:
        for number, (identity, function) in enumerate(entries):
            pipeline.xadd(docket.keys.stream, {"k": f"k{number}"}, id=identity)
            name = docket.keys.record(f"k{number}")
            pipeline.hset(
                name, items=["state", "queued", "function", function, "entry", f"s{identity}"]
            )
        await pipeline.execute()


async def test_counts_by_function_are_exact_for_few(docket: Docket) -> None:
    docket.register(send)
    docket.register(bill)
    await schedule(docket, "send", 6, 1)
    await schedule(docket, "bill", 4, 1)

    counts = await docket.counts()

    assert counts.by_function[ListedState.SCHEDULED] == {"send": 6, "bill": 4}
    assert not counts.is_estimated


@pytest.mark.usefixtures("few_are_looked_at")
async def test_what_is_due_first_counts_for_no_more_than_the_rest(docket: Docket) -> None:
    docket.register(send)
    docket.register(bill)
    await schedule(docket, "send", 1000, 1)
    await schedule(docket, "bill", 3010, 2)

    counts = await counted(docket, 1)
    means, worst = await averages(docket, ListedState.SCHEDULED)

    assert counts.is_estimated
    assert counts.by_state[ListedState.SCHEDULED] == 4010
    assert sum(counts.by_function[ListedState.SCHEDULED].values()) == pytest.approx(4010, abs=2)
    # 10 windows of 201: of one estimate the standard deviation is 530, of the mean of 20 it is 120.
    assert means["send"] == pytest.approx(1000, abs=360)
    assert means["bill"] == pytest.approx(3010, abs=360)
    assert worst < 2000


@pytest.mark.usefixtures("few_are_looked_at")
async def test_kept_failures_are_sampled_from_all_of_their_time(docket: Docket) -> None:
    docket.register(fail)
    await docket.add_many([docket.call(fail, key=f"f-{n}")(n) for n in range(40)])
    await soon(Worker(docket, concurrency=40).run_until_finished())
    client = docket.connections.client()
    await client.zadd(docket.keys.failed, {f"old-{n}": n for n in range(960)})
    for number in range(960):
        name = docket.keys.failed_record(f"old-{number}")
        await client.hset(name, items=["function", "old", "state", "failed"])

    means, _ = await averages(docket, ListedState.FAILED)

    assert means["old"] == pytest.approx(960, abs=40)


@pytest.mark.usefixtures("few_are_looked_at")
async def test_at_a_steady_pace_the_queue_is_sampled_evenly(docket: Docket) -> None:
    functions = ["send"] * 1000 + ["bill"] * 3000
    await put_in_stream(docket, ((f"{10 * at + 1}-0", name) for at, name in enumerate(functions)))

    means, worst = await averages(docket, ListedState.QUEUED)

    assert means["send"] == pytest.approx(1000, abs=200)
    assert means["bill"] == pytest.approx(3000, abs=200)
    assert worst < 500


@pytest.mark.usefixtures("few_are_looked_at")
async def test_a_burst_is_not_hidden_by_the_long_time_in_which_little_came(docket: Docket) -> None:
    burst = [(f"{at // 10 + 1}-{at % 10}", "send") for at in range(5000)]
    trickle = [(f"{500 + 5 * at}-0", "bill") for at in range(1, 200)]
    await put_in_stream(docket, [*burst, *trickle])

    means, _ = await averages(docket, ListedState.QUEUED)

    assert means["send"] == pytest.approx(5000, abs=100)
    assert means["bill"] == pytest.approx(199, abs=100)


@pytest.mark.usefixtures("few_are_looked_at")
async def test_what_came_in_one_millisecond_is_sampled_too(docket: Docket) -> None:
    functions = ["send"] * 1000 + ["bill"] * 1000
    await put_in_stream(docket, ((f"7-{at}", name) for at, name in enumerate(functions)))

    means, _ = await averages(docket, ListedState.QUEUED)

    assert means["send"] == pytest.approx(1000, abs=150)


@pytest.mark.usefixtures("few_are_looked_at")
async def test_running_ones_are_sampled_among_all_that_are_claimed(docket: Docket) -> None:
    functions = ["send"] * 600 + ["bill"] * 600
    await put_in_stream(docket, ((f"{10 * at + 1}-0", name) for at, name in enumerate(functions)))
    client = docket.connections.client()
    await client.xgroup_create(docket.keys.stream, WORKER_GROUP, "0")
    await client.xreadgroup(WORKER_GROUP, "w.1", {docket.keys.stream: ">"}, count=1000)

    counts = await counted(docket, 1)
    means, _ = await averages(docket, ListedState.RUNNING)

    assert counts.by_state[ListedState.RUNNING] == 1000
    assert counts.by_function[ListedState.QUEUED] == {"bill": 200}
    assert means["send"] == pytest.approx(600, abs=100)


@pytest.mark.usefixtures("few_are_looked_at")
@pytest.mark.parametrize("last", ["18446744073709551615-5", "3-18446744073709551614"])
async def test_ids_at_the_end_of_their_range_are_met(docket: Docket, last: str) -> None:
    entries = [(f"2-{at}", "send") for at in range(1, 500)]
    await put_in_stream(docket, [*entries, (last, "bill")])

    counts = await counted(docket, 1)

    assert sum(counts.by_function[ListedState.QUEUED].values()) == pytest.approx(500, abs=2)
