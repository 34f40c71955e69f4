"""A request that arrives twice is one request, however late the second time is.

The first sending may be held up on its way, by a proxy, say: then it arrives after the second was
answered, and perhaps after what it asked for has run and others have used the key.
"""

import pytest

from docket.store import scripts
from docket.store.manual import RunIdentity
from tests.support.store import Store, outcome

pytestmark = pytest.mark.anyio


async def end(store: Store) -> None:
    claim = await store.claim("a")
    await store.exchange("a", [outcome("C", claim)])


@pytest.mark.parametrize("replace", [0, 1])
async def test_one_that_is_held_up_until_others_have_used_its_key_schedules_nothing(
    store: Store, replace: int
) -> None:
    await store.register("a")
    await store.add("k", token="held-up")
    await end(store)
    for later in ("second", "third"):
        await store.add("k", token=later, replace=1 if replace else 0)
        await end(store)
    before = await store.state()

    again = await store.add("k", token="held-up")

    assert (again.disposition, again.generation, again.state) == ("scheduled", 3, "completed")
    assert await store.state() == before


async def test_one_that_is_held_up_until_its_run_was_given_up_for_a_later_one_schedules_nothing(
    store: Store,
) -> None:
    await store.register("a")
    await store.add("k", token="held-up")
    claim = await store.claim("a")
    identity = RunIdentity("k", 1, claim.entry.decode())
    await store.transitions.manual.reschedule(identity, await store.now(), 2, b"call")
    await end(store)
    before = await store.state()

    again = await store.add("k", token="held-up")

    assert (again.disposition, again.generation, again.state) == ("scheduled", 1, "completed")
    assert await store.state() == before


async def test_part_of_a_token_that_is_remembered_is_another_token(store: Store) -> None:
    await store.add("k", token="request-12")
    await store.add("k", token="request-2", replace=1)

    assert (await store.add("k", token="request-1", replace=1)).generation == 3


async def test_what_a_record_remembers_of_earlier_requests_is_bounded(store: Store) -> None:
    for n in range(50):
        await store.add("k", token=f"request-{n}", replace=1)

    record = await store.record("k")

    assert len(record["tokens"]) <= 200
    assert record["tokens"].startswith(" request-48 request-47 ")


async def test_a_move_that_arrives_again_after_the_run_is_answered_as_before_and_moves_nothing(
    store: Store,
) -> None:
    await store.register("a")
    await store.add("k", delay_seconds=3600)

    async def move() -> list[bytes]:
        names = [*store.keys.places, store.keys.asked("the-same")]
        values = [store.keys.prefix, "", 60_000, "k", 0]
        return await store.connections.pipeline.call(
            scripts.MOVE, names, values, patience_seconds=5.0
        )

    assert await move() == [b"moved"]
    await end(store)
    await store.add("k", delay_seconds=3600)
    before = await store.state()

    assert await move() == [b"moved"]

    assert await store.state() == before
