"""A key of a limit that somebody overwrote holds up who needs it, and nobody else."""

import pytest

from docket.store.limits import LimitKind, LimitRequest
from tests.support.limits import LimitedStore, slots
from tests.support.store import Store, outcome

pytestmark = pytest.mark.anyio

ONE = slots("one")


async def overwrite(store: Store, name: str) -> str:
    """Puts a foreign value under a name of the docket's; the whole name."""
    whole = f"{store.keys.prefix}:{name}"
    await store.client.delete(whole)
    await store.client.lpush(whole, "foreign")
    return whole


async def states(store: Store, *keys: str) -> list[str]:
    return sorted([(await store.record(key))["state"] for key in keys])


@pytest.mark.parametrize("name", ["slots:one", "waiting:one", "holds"])
async def test_the_end_of_its_holder_is_recorded_and_who_waits_goes_on_once_it_is_removed(
    limited: LimitedStore, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = limited.store
    holder, _ = await limited.started("holder", ONE)
    assert (await limited.started("waiter", ONE))[1].verdict == "waiting"
    await store.add("free")
    whole = await overwrite(store, name)

    done = await store.exchange("a", [outcome("C", holder, b"r")], want=5)

    assert done.superseded == []
    assert [claim.key for claim in done.claims] == [b"free"]
    assert f"{whole} was overwritten" in caplog.text
    # What it knew is unknown, so there is no slot to give.
    assert (await limited.started("late", ONE))[1].verdict == "waiting"
    assert await states(store, "waiter", "late") == ["scheduled", "scheduled"]

    await store.client.delete(whole)
    await store.transitions.limits.sweep()
    assert await states(store, "waiter", "late") == ["queued", "scheduled"]


@pytest.mark.parametrize(
    ("name", "limit_request", "waits"),
    [
        ("debounce:one", LimitRequest(LimitKind.DEBOUNCE, "one", 60_000), "first"),
        ("rate-ahead:one", LimitRequest(LimitKind.RATE, "one", 1, 60_000), "second"),
    ],
)
async def test_who_waits_for_a_time_can_be_cancelled_all_the_same(
    limited: LimitedStore,
    name: str,
    limit_request: LimitRequest,
    waits: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = limited.store
    _, first = await limited.started("first", limit_request)
    _, second = await limited.started("second", limit_request)
    assert {"first": first, "second": second}[waits].verdict == "later"
    whole = await overwrite(store, name)
    assert await store.transitions.cancel(waits) == "removed"
    assert f"{whole} was overwritten" in caplog.text


async def test_a_rate_that_cannot_be_read_fails_the_task_that_asks_and_is_no_fault_of_others(
    limited: LimitedStore,
) -> None:
    store = limited.store
    await overwrite(store, "rate:one")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await limited.started("k", LimitRequest(LimitKind.RATE, "one", 1, 60_000))
    await store.add("free")
    assert (await store.claim("a")).key == b"free"
