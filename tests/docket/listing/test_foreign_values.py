"""Listings of what somebody else has written: hand-made cursors, odd scores, ids at their end."""

import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docket import Docket, Worker
from docket.listing import Filter, ListedState, Page
from docket.listing.cursors import read
from docket.store.keys import WORKER_GROUP
from tests.support.dockets import soon

pytestmark = pytest.mark.anyio

GREATEST = "18446744073709551615-18446744073709551615"
DIGEST = Filter.of().digest("d")


async def work(number: int = 0) -> None: ...


def made_by_hand(docket: Docket, state: str, position: object) -> str:
    """A cursor of the listing of one state."""
    digest = Filter.of(state).digest(docket.name)
    return base64.urlsafe_b64encode(msgspec.msgpack.encode([digest, state, position])).decode()


async def every_key(docket: Docket, state: ListedState) -> list[str]:
    found: list[str] = []
    cursor = None
    for _ in range(50):
        page = await docket.executions(state, limit=1, cursor=cursor)
        found += [each.key for each in page.executions]
        cursor = page.cursor
        if cursor is None:
            return found
    raise AssertionError(f"the listing goes round: {found}")


# Cursors ----------------------------------------------------------------------------------------


@given(
    st.sampled_from([state.value for state in ListedState]),
    st.recursive(
        st.none() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=40) | st.text(),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=4,
    ),
)
def test_a_cursor_of_any_content_is_read_or_refused(state: str, position: object) -> None:
    packed = base64.urlsafe_b64encode(msgspec.msgpack.encode([DIGEST, state, position])).decode()
    try:
        place = read(packed, DIGEST)
    except ValueError:
        return
    assert place.position is None or len(place.position) == 2


@pytest.mark.parametrize(
    ("state", "position"),
    [
        ("queued", [b"s", b"99999999999999999999-1"]),
        ("running", [b"s", b"1-18446744073709551616"]),
        ("running", [b"q", b"1-1"]),
        ("scheduled", [b"nan", b"k"]),
        ("failed", [b"1 2", b"k"]),
        ("failed", [5, b"k"]),
        ("completed", [b"5", b"k"]),
    ],
)
async def test_a_position_that_no_server_takes_is_refused(
    docket: Docket, state: str, position: object
) -> None:
    with pytest.raises(ValueError, match="no cursor of a listing"):
        await docket.executions(state, cursor=made_by_hand(docket, state, position))


@pytest.mark.parametrize("state", ["queued", "running"])
async def test_nothing_follows_the_greatest_id(docket: Docket, state: str) -> None:
    await docket.add(work, key="k")()
    cursor = made_by_hand(docket, state, [b"s", GREATEST.encode()])
    assert (await docket.executions(state, cursor=cursor)) == Page((), None, 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.floats(allow_nan=False), st.binary(max_size=5))
async def test_any_score_that_a_server_writes_is_a_place_to_go_on_from(
    docket: Docket, score: float, key: bytes
) -> None:
    position = [f"{score:.17g}".encode(), key]
    cursor = made_by_hand(docket, "failed", position)
    assert (await docket.executions("failed", cursor=cursor)).executions == ()


# Scores and ids ---------------------------------------------------------------------------------


async def test_each_failure_is_listed_once_whatever_its_score(docket: Docket) -> None:
    scores = {"inf": "inf", "inf2": "inf", "big": "1e300", "b": "1.5", "a": "1.5", "c": "1.25"}
    async with docket.redis() as redis:
        await redis.zadd(docket.keys.failed, {**scores, "low": "-inf", "negative": "-5"})
        for key in (*scores, "low", "negative"):
            record = ["state", "failed", "function", "work", "completed_at", "1000"]
            await redis.hset(docket.keys.failed_record(key), items=record)

    assert await every_key(docket, ListedState.FAILED) == [
        *("inf2", "inf", "big", "b", "a", "c", "negative", "low")
    ]
    assert (await docket.counts()).by_function[ListedState.FAILED] == {"work": 8}


async def test_a_group_that_somebody_has_set_to_the_greatest_id_hides_no_other_number(
    docket: Docket,
) -> None:
    docket.register(work)
    await docket.add(work, key="before")()
    await soon(Worker(docket).run_until_finished())
    await docket.add(work, key="k")()
    async with docket.redis() as redis:
        await redis.xgroup_setid(docket.keys.stream, WORKER_GROUP, GREATEST)

    backlog = await docket.backlog()

    assert (backlog.queued, backlog.oldest_ready_seconds) == (1, None)
    assert (await docket.counts()).by_state[ListedState.QUEUED] == 1
    assert await every_key(docket, ListedState.QUEUED) == []


async def test_a_full_page_that_ends_with_the_greatest_id_is_the_last(docket: Docket) -> None:
    await docket.add_many([docket.call(work, key=f"k{n}")(n) for n in range(63)])
    async with docket.redis() as redis:
        await redis.xadd(docket.keys.stream, {"k": "foreign"}, id=GREATEST)

    assert await docket.clear() == 63
    assert (await docket.snapshot()).total_tasks == 0


# Types ------------------------------------------------------------------------------------------

REFUSED: dict[str, Callable[[Docket], Awaitable[object]]] = {
    "limit must be an int": lambda docket: docket.executions(limit=True),
    "limit must be an int, not str": lambda docket: docket.executions(limit="5"),  # pyright: ignore[reportArgumentType]
    "state must be a state": lambda docket: docket.executions(5),  # pyright: ignore[reportArgumentType]
    "A state must be": lambda docket: docket.executions([5]),  # pyright: ignore[reportArgumentType]
    "function must be a str": lambda docket: docket.executions(function=work),  # pyright: ignore[reportArgumentType]
    "key_prefix must be": lambda docket: docket.executions(key_prefix=b"k"),  # pyright: ignore[reportArgumentType]
    "worker must be": lambda docket: docket.executions(worker=5),  # pyright: ignore[reportArgumentType]
    "error must be": lambda docket: docket.executions(error=ValueError),  # pyright: ignore[reportArgumentType]
    "cursor must be": lambda docket: docket.executions(cursor=5),  # pyright: ignore[reportArgumentType]
    "The key of a task": lambda docket: docket.describe(5),  # pyright: ignore[reportArgumentType]
    "key of a task must": lambda docket: docket.retry(None),  # pyright: ignore[reportArgumentType]
    "of a task must be": lambda docket: docket.run_now(5),  # pyright: ignore[reportArgumentType]
    "a task must be a str": lambda docket: docket.reschedule(
        5,  # pyright: ignore[reportArgumentType]
        datetime.now(UTC) + timedelta(hours=1),
    ),
    "must be a Filter, such": lambda docket: docket.retry_matching("failed"),  # pyright: ignore[reportArgumentType]
    "The filter must be a": lambda docket: docket.executions_matching("failed"),  # pyright: ignore[reportArgumentType]
}


@pytest.mark.parametrize("said", REFUSED)
async def test_an_argument_of_another_type_is_refused_by_its_name(
    docket: Docket, said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        await REFUSED[said](docket)


@pytest.mark.parametrize("name", ["function", "key_prefix", "worker", "error", "cursor"])
async def test_a_text_that_nothing_can_store_is_refused_by_its_name(
    docket: Docket, name: str
) -> None:
    with pytest.raises(ValueError, match=f"{name} .* is no valid text"):
        await docket.executions(**{name: "\ud800"})  # pyright: ignore[reportArgumentType]
