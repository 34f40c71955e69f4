"""Strikes as instructions that one sends oneself, as a program beside the docket does."""

import pytest

from docket import Docket, StrikeList
from docket.strikelist import Operator, Restore, Strike, StrikeInstruction

pytestmark = pytest.mark.anyio

BLOCKED = {"customer": "blocked"}


async def test_an_instruction_that_is_sent_reaches_all_who_follow_the_docket(
    docket: Docket,
) -> None:
    strike = Strike(None, "customer", Operator.EQUAL, "blocked")
    async with StrikeList(docket.url, docket.name) as sender:
        await sender.send_instruction(strike)
        assert sender.is_stricken(BLOCKED)
        async with StrikeList(docket.url, docket.name) as other:
            assert other.is_stricken(BLOCKED)

        await sender.send_instruction(Restore(None, "customer", Operator.EQUAL, "blocked"))
        assert not sender.is_stricken(BLOCKED)


async def test_an_instruction_cannot_be_sent_without_a_connection() -> None:
    strikes = StrikeList()
    with pytest.raises(RuntimeError, match="not connected to Redis"):
        await strikes.send_instruction(Strike("send", None, Operator.EQUAL, None))
    assert not strikes.is_stricken(BLOCKED)


def test_an_instruction_says_which_calls_it_means() -> None:
    everything = Restore("send", None, Operator.EQUAL, None)
    some = Strike("send", "amount", Operator.GREATER_THAN, 100)

    assert isinstance(some, StrikeInstruction)
    assert isinstance(everything, StrikeInstruction)
    assert everything.call_repr() == "send(* == *)"
    assert some.call_repr() == "send(amount > 100)"


@pytest.mark.statement(50)
def test_an_instruction_has_labels_of_what_it_says() -> None:
    assert Strike(None, None, Operator.EQUAL, None).labels() == {}
    assert Restore("send", None, Operator.EQUAL, None).labels() == {"docket.task": "send"}
    assert Strike("send", "to", Operator.NOT_EQUAL, "ann").labels() == {
        "docket.task": "send",
        "docket.parameter": "to",
        "docket.operator": "!=",
        "docket.value": "'ann'",
    }


@pytest.mark.statement(50)
def test_a_strike_list_has_the_prefix_of_its_docket() -> None:
    assert StrikeList(name="orders").prefix == Docket("orders").prefix
