"""Instructions in the stream of strikes that nobody can read: what they do to a log."""

import logging
from datetime import timedelta

import msgspec
import pytest

from docket import Docket, StrikeList
from docket.clock import now
from docket.errors import PayloadTooLarge
from docket.log_text import CALL
from docket.store.strikes import Fields
from docket.strike_rules import MAX_VALUE_BYTES, Operator, Strike
from docket.strikelist import UNREAD_TOLD
from tests.support import cli_tasks
from tests.support.programs import docket_program, run_docket_process

pytestmark = pytest.mark.anyio

EVIL = "\x1b]0;owned\x07\x9b2J\u202e\nforged"


def of(value: bytes, **others: bytes) -> Fields:
    named = {b"direction": b"strike", b"operator": b"==", b"function": b"f", b"parameter": b"x"}
    return {**named, b"value": value, **{name.encode(): text for name, text in others.items()}}


def typed(*parts: object) -> bytes:
    return b"t" + msgspec.msgpack.encode(parts)


#: Each has an error that quotes what stands in it, some of them raw.
UNREADABLE = [
    of(typed("datetime", "2020-01-01", 0, f"/{EVIL}")),
    of(typed("datetime", "2020-01-01", 0, EVIL + "x" * 1_000_000)),
    of(typed(EVIL + "x" * 1_000_000)),
    of(typed("int", EVIL + "f" * 1_000_000)),
    of(b"m\xc0", operator=EVIL.encode() + b"x" * 1_000_000),
    of(b"m\xc0", direction=EVIL.encode() + b"x" * 1_000_000),
    of(b"m\x81\xa1a\xc0"),
    of(b"m\xdd\xff\xff\xff\xff"),
    of(b"t" + b"\x92\xa5tuple" * 100_000 + b"\xc0"),
]


@pytest.fixture
async def struck(server: str, docket_name: str) -> Docket:
    """A closed docket with many strikes that nobody can read, and a good one after them."""
    async with Docket(docket_name, server) as docket:
        client = docket.connections.client()
        for fields in UNREADABLE * 3:
            await client.xadd(docket.keys.strikes, fields)  # type: ignore[arg-type]
        await docket.strike("f", "x", "==", "blocked")
    return docket


async def test_a_log_tells_of_some_bounded_and_on_one_line_each(
    struck: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    async with StrikeList(struck.url, struck.name) as strikes:
        assert strikes.in_effect == 1

    told = [r for r in caplog.records if r.name.startswith("docket.strike")]
    told = [r.getMessage() for r in told if r.levelno >= logging.WARNING]
    assert len(told) == UNREAD_TOLD + 1
    assert (
        told[-1] == f"{3 * len(UNREADABLE) - UNREAD_TOLD} more strike instructions cannot be read"
    )
    assert all(text.isprintable() and len(text) < 2 * CALL for text in told)


async def test_the_terminal_of_a_command_gets_no_escape_and_few_lines(struck: Docket) -> None:
    on = ("--docket", struck.name, "--url", struck.url)
    async with Docket(struck.name, struck.url) as docket:
        await docket.add(cli_tasks.greet, now() + timedelta(hours=1), key="k")("Ann")
        code, output, _ = await run_docket_process("snapshot", *on)
        # One that goes on until it has read them all: another may end before.
        async with docket_program("watch", *on, "k") as program:
            await program.warned("more strike instructions cannot be read")
            await docket.cancel("k")
            assert await program.ended() == 0

    assert code == 0
    assert "0 workers" in output
    errors = program.errors
    assert all(line.isprintable() for line in errors.splitlines())
    assert len(errors.splitlines()) == UNREAD_TOLD + 1
    assert len(errors) < 100_000


def test_a_value_over_the_limit_is_refused_whatever_its_form() -> None:
    for value in ("x" * MAX_VALUE_BYTES, frozenset({b"x" * MAX_VALUE_BYTES})):
        with pytest.raises(PayloadTooLarge, match="The strike's value has"):
            Strike("f", "x", Operator.EQUAL, value).as_message()


def test_a_strike_of_any_size_is_shown_with_a_bound() -> None:
    strike = Strike("f" * 1_000_000, "x", Operator.EQUAL, EVIL + "x" * 1_000_000)
    assert len(str(strike)) < 2 * CALL
    assert len(strike.labels()["docket.value"]) < CALL
