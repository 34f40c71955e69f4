"""The list of the strikes in effect: since when, why, and by whom."""

from datetime import UTC, datetime, timedelta

import pytest

from docket import Docket, StrikeList
from docket.strike_rules import Operator, from_message
from tests.support.store import until

pytestmark = pytest.mark.anyio


class Odd:
    """Only pickle can store it."""

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd)

    def __repr__(self) -> str:
        return "<Odd>"


async def test_strikes_are_listed_with_time_reason_and_author(docket: Docket) -> None:
    earliest = datetime.now(UTC) - timedelta(seconds=10)
    await docket.strike("send", "customer", "==", "acme", reason="their data", by="ann")
    await docket.strike("send", "amount", ">", 5)
    await docket.strike()

    first, second, third = await docket.strikes()

    assert (first.function, first.parameter, first.operator) == ("send", "customer", Operator.EQUAL)
    assert (first.value, first.is_readable) == ("acme", True)
    assert (first.reason, first.by) == ("their data", "ann")
    assert earliest < first.since <= second.since < earliest + timedelta(seconds=60)
    assert (second.operator, second.value) == (Operator.GREATER_THAN, 5)
    assert (second.reason, second.by) == (None, None)
    assert (third.function, third.parameter, third.value) == (None, None, None)


async def test_what_was_restored_is_not_listed_and_what_was_struck_again_once(
    docket: Docket,
) -> None:
    await docket.strike("send", reason="first")
    await docket.strike("other")
    await docket.strike("send", reason="second")
    await docket.strike("gone")
    await docket.restore("gone", reason="mended", by="bob")

    assert [(s.function, s.reason) for s in await docket.strikes()] == [
        ("other", None),
        ("send", "second"),
    ]


async def test_remarks_make_no_other_strike(docket: Docket) -> None:
    await docket.strike("send", reason="why", by="ann")

    await docket.restore("send", reason="mended", by="bob")

    assert await docket.strikes() == []
    assert docket.strike_list.is_empty


async def test_the_strikes_of_other_processes_are_listed_before_they_are_followed(
    docket: Docket, server: str
) -> None:
    async with StrikeList(server, docket.name) as elsewhere:
        await elsewhere.strike("send", reason="of another", by="bob")

    (strike,) = await docket.strikes()

    assert (strike.function, strike.reason, strike.by) == ("send", "of another", "bob")


async def test_a_value_that_only_workers_read_is_told_as_such(docket: Docket, server: str) -> None:
    await docket.strike("send", "thing", "==", Odd(), reason="odd")
    (own,) = await docket.strikes()
    assert (own.value, own.is_readable) == (Odd(), True)

    async with Docket(docket.name, server) as elsewhere:
        (other,) = await elsewhere.strikes()
        assert (other.parameter, other.value, other.is_readable) == ("thing", None, False)
        assert other.reason == "odd"

        await docket.restore("send", "thing", "==", Odd())
        assert await elsewhere.strikes() == []


async def test_what_is_none_of_ours_is_left_out(docket: Docket) -> None:
    async with docket.redis() as redis:
        await redis.xadd(docket.keys.strikes, {"what": "ever"})
        await redis.xadd(docket.keys.strikes, {"direction": "strike", "operator": "~"})
    await docket.strike("send")

    assert [strike.function for strike in await docket.strikes()] == ["send"]


async def test_more_strikes_than_a_page_are_listed(docket: Docket) -> None:
    async with docket.redis() as redis:
        pipe = redis.pipeline()
        for n in range(1500):
            fields = {
                "direction": "strike",
                "operator": "==",
                "function": f"f{n}",
                "value": b"m\xc0",
            }
            pipe.xadd(docket.keys.strikes, fields)  # type: ignore[arg-type]
        await pipe.execute()

    assert len(await docket.strikes()) == 1500


async def test_a_reader_of_an_earlier_version_reads_a_strike_with_remarks(docket: Docket) -> None:
    """Such a reader looks at four fields, and at no other."""
    await docket.strike("send", "n", "==", 5, reason="why", by="ann")
    async with docket.redis() as redis:
        ((_, fields),) = await redis.xrange(docket.keys.strikes)

    assert fields[b"reason"] == b"why"
    del fields[b"reason"], fields[b"by"]
    instruction = from_message(fields)
    assert instruction is not None
    assert instruction.rule == ("send", "n", Operator.EQUAL, 5)


@pytest.mark.parametrize(
    ("remarks", "error"),
    [({"reason": 5}, TypeError), ({"by": "x" * 1001}, ValueError), ({"by": "\ud800"}, ValueError)],
)
async def test_a_remark_that_cannot_be_kept_strikes_nothing(
    docket: Docket, remarks: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await docket.strike("send", **remarks)

    assert await docket.strikes() == []
    assert docket.strike_list.is_empty


async def test_a_strike_list_that_is_not_connected_cannot_list(docket: Docket) -> None:
    with pytest.raises(RuntimeError, match="not connected"):
        await StrikeList().records()
    async with StrikeList(docket.url, docket.name) as strikes:
        await docket.strike("send")
        await until(lambda: strikes.in_effect == 1)
        assert len(await strikes.records()) == 1
