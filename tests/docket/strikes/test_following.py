"""Strikes that are shared: in effect in every process, whatever happens to its connections."""

import asyncio
import logging

import pytest

from docket import Docket, StrikeList
from docket.store.strikes import StrikeStream
from docket.strikelist import Operator, Strike
from tests.support.dockets import soon
from tests.support.proxy import proxy_to
from tests.support.store import until

pytestmark = pytest.mark.anyio

STRIKE = Strike(None, "customer", Operator.EQUAL, "blocked")
BLOCKED = {"customer": "blocked"}


async def test_what_was_struck_before_is_known_to_whoever_connects(
    docket: Docket, server: str
) -> None:
    await docket.strike(None, "customer", "==", "blocked")

    async with StrikeList(server, docket.name) as strikes:
        assert strikes.is_loaded
        assert strikes.is_stricken(BLOCKED)


async def test_what_is_struck_and_restored_is_heard_at_once_by_all(
    docket: Docket, server: str
) -> None:
    async with StrikeList(server, docket.name) as one, StrikeList(server, docket.name) as two:
        await one.strike(None, "customer", "==", "blocked")
        assert one.is_stricken(BLOCKED)
        await until(lambda: two.is_stricken(BLOCKED) and docket.strike_list.is_stricken(BLOCKED))

        await docket.restore(None, "customer", "==", "blocked")
        await until(lambda: not two.is_stricken(BLOCKED) and not one.is_stricken(BLOCKED))


async def test_a_strike_is_live_well_within_a_second(docket: Docket, server: str) -> None:
    async with StrikeList(server, docket.name) as strikes:
        loop = asyncio.get_running_loop()
        started = loop.time()

        await docket.strike(None, "customer", "==", "blocked")
        await until(lambda: strikes.is_stricken(BLOCKED))

        assert loop.time() - started < 1


async def test_lists_of_other_dockets_hear_nothing(docket: Docket, server: str) -> None:
    async with StrikeList(server, docket.name + "x") as other:
        await docket.strike(None, "customer", "==", "blocked")
        await other.strike(None, "other", "==", 1)

        assert not other.is_stricken(BLOCKED)
        assert other.strike_key == "{" + docket.name + "x}:strikes"


@pytest.mark.statement(50)
def test_a_list_has_the_prefix_of_the_keys_of_its_docket() -> None:
    assert StrikeList(name="orders").prefix == Docket("orders").prefix
    assert StrikeList(name="orders").strike_key == StrikeList(name="orders").prefix + ":strikes"
    assert StrikeList().prefix == Docket("strikelist").prefix


async def test_connect_and_close_may_be_called_twice_and_again(
    server: str, docket_name: str
) -> None:
    strikes = StrikeList(server, docket_name)
    await strikes.connect()
    await strikes.connect()
    await strikes.strike(None, "customer", "==", "blocked")
    await strikes.close()
    await strikes.close()
    assert strikes.is_stricken(BLOCKED), "what is known stays known"
    assert strikes.is_loaded
    async with StrikeList(server, docket_name) as other:
        await other.restore(None, "customer", "==", "blocked")

    async with strikes:
        assert not strikes.is_stricken(BLOCKED)


async def test_a_local_list_connects_to_nothing_and_sends_nothing() -> None:
    async with StrikeList() as strikes:
        await soon(strikes.wait_for_strikes_loaded())
        for send in (strikes.strike, strikes.restore):
            with pytest.raises(RuntimeError, match=r"not connected to Redis\. Use connect"):
                await send("task")
        assert strikes.is_empty


def test_a_url_or_name_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(ValueError, match="Accepted"):
        StrikeList("http://host")
    with pytest.raises(ValueError, match="braces"):
        StrikeList(name="{}")


async def test_an_operator_that_does_not_exist_is_refused(docket: Docket) -> None:
    for send in (docket.strike, docket.restore):
        with pytest.raises(ValueError, match="'~' is not a valid Operator"):
            await send("task", "parameter", "~", 1)  # type: ignore[arg-type]


async def test_a_value_that_cannot_be_hashed_reaches_nobody(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    await docket.strike("task", "parameter", "==", [1])  # type: ignore[arg-type]

    assert "Incompatible type for strike condition" in caplog.text
    assert await docket.connections.client().xlen(docket.strike_list.strike_key) == 0


async def test_many_strikes_are_loaded_in_several_reads(docket: Docket, server: str) -> None:
    await asyncio.gather(*(docket.strike(None, "customer", "==", n) for n in range(2500)))

    async with StrikeList(server, docket.name) as strikes:
        assert strikes.in_effect == 2500
        assert strikes.is_stricken({"customer": 2499})


@pytest.mark.parametrize(
    "fields",
    [
        {"nonsense": "1"},
        {"direction": "strike", "operator": "~", "value": b"m\xc0"},
        {"direction": "sideways", "operator": "==", "value": b"m\xc0"},
        {"direction": "strike", "operator": "==", "value": b"p no pickle"},
        {"direction": "strike", "operator": "==", "value": b"? of a later version"},
        {"direction": "strike", "operator": "==", "parameter": "p", "value": b"p\x80\x05]."},
    ],
)
async def test_an_entry_that_cannot_be_read_is_passed_over(
    docket: Docket,
    server: str,
    fields: dict[str, str | bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    await docket.connections.client().xadd(docket.strike_list.strike_key, fields)  # type: ignore[arg-type]
    await docket.strike(None, "customer", "==", "blocked")

    async with StrikeList(server, docket.name) as strikes:
        assert strikes.in_effect == 1
        assert strikes.is_stricken(BLOCKED)

    assert any("strike" in message.lower() for message in caplog.messages)


async def test_a_key_that_holds_something_else_is_logged_and_read_once_it_is_mended(
    docket: Docket, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = docket.connections.client()
    await client.set(docket.strike_list.strike_key, "somebody's")

    async with StrikeList(server, docket.name) as strikes:
        assert not strikes.is_loaded
        assert "Strikes cannot be read (WRONGTYPE" in caplog.text
        await client.delete(docket.strike_list.strike_key)

        await soon(strikes.wait_for_strikes_loaded())


async def test_a_list_whose_server_is_away_opens_and_loads_once_it_is_there(
    docket: Docket, server: str
) -> None:
    await docket.strike(None, "customer", "==", "blocked")
    async with proxy_to(server) as proxy:
        await proxy.refuse()
        async with StrikeList(proxy.url, docket.name) as strikes:
            assert not strikes.is_loaded
            await proxy.open()

            await soon(strikes.wait_for_strikes_loaded())

            assert strikes.is_stricken(BLOCKED)


async def test_closing_wakes_who_waits_for_strikes(server: str, docket_name: str) -> None:
    async with proxy_to(server) as proxy:
        await proxy.refuse()
        strikes = StrikeList(proxy.url, docket_name)
        await strikes.follow()
        waiting = asyncio.create_task(strikes.wait_for_strikes_loaded())
        await asyncio.sleep(0)

        await strikes.close()

        await soon(waiting)


async def test_what_is_struck_while_the_connection_is_lost_is_known_after_it(
    docket: Docket, server: str
) -> None:
    async with proxy_to(server) as proxy, StrikeList(proxy.url, docket.name) as strikes:
        await proxy.refuse()
        await docket.strike(None, "customer", "==", "blocked")
        assert not strikes.is_stricken(BLOCKED)

        await proxy.open()

        await until(lambda: strikes.is_stricken(BLOCKED))


async def test_a_server_that_forgot_a_strike_is_believed_and_a_local_one_stays(
    docket: Docket, server: str
) -> None:
    async with proxy_to(server) as proxy, StrikeList(proxy.url, docket.name) as strikes:
        await docket.strike(None, "customer", "==", "blocked")
        strikes.update(Strike(None, "customer", Operator.EQUAL, "local"))
        await until(lambda: strikes.is_stricken(BLOCKED))

        await proxy.refuse()
        await docket.connections.client().delete(docket.strike_list.strike_key)
        await proxy.open()

        await until(lambda: not strikes.is_stricken(BLOCKED))
        assert strikes.is_stricken({"customer": "local"})


async def test_of_what_is_struck_and_restored_again_and_again_only_the_last_is_kept(
    docket: Docket, server: str
) -> None:
    client, stream = docket.connections.client(), docket.strike_list.strike_key
    async with StrikeList(server, docket.name) as strikes:
        await strikes.strike(None, "other", "==", 1)
        for _ in range(20):
            await strikes.strike(None, "customer", "==", "blocked")
            await strikes.restore(None, "customer", "==", "blocked")
            await until(lambda: not docket.strike_list.is_stricken(BLOCKED))
        await strikes.strike(None, "customer", "==", "blocked")
        await until(lambda: docket.strike_list.is_stricken(BLOCKED))
        # It removes what it had not read yet when it issued the ones after it.
        await strikes.strike(None, "other", "==", 1)
        assert await client.xlen(stream) <= 6

    async with StrikeList(server, docket.name) as late:
        assert late.is_stricken(BLOCKED)
        assert late.is_stricken({"other": 1})
        assert late.in_effect == 2


async def test_values_that_are_equal_and_stored_differently_keep_their_order(
    docket: Docket, server: str
) -> None:
    await docket.strike(None, "customer", "==", 1)
    await until(lambda: docket.strike_list.is_stricken({"customer": 1}))
    await docket.restore(None, "customer", "==", 1.0)
    async with StrikeList(server, docket.name) as late:
        assert not late.is_stricken({"customer": 1})


async def test_a_message_that_is_lost_costs_only_time(
    docket: Docket, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docket.store.strikes.RECHECK_SECONDS", 0.05)
    async with StrikeList(server, docket.name) as strikes:
        message = {k.decode(): v for k, v in STRIKE.as_message().items()}
        await docket.connections.client().xadd(strikes.strike_key, message)  # type: ignore[arg-type]

        await until(lambda: strikes.is_stricken(BLOCKED))


async def test_strikes_cost_no_connection_of_their_own(server: str, docket_name: str) -> None:
    async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
        await soon(docket.wait_for_strikes_loaded())
        subscriber = docket.connections.subscriber
        async with (
            subscriber.listening("a channel", lambda _: None),
            StrikeList(proxy.url, docket_name) as strikes,
        ):
            await strikes.strike(None, "customer", "==", "blocked")
            await until(lambda: docket.strike_list.is_stricken(BLOCKED))

        assert proxy.accepted == 2, "the pipeline and the subscriber"


async def test_a_fault_that_ends_the_following_is_logged(
    server: str,
    docket_name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def breaks(stream: StrikeStream, take: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(StrikeStream, "follow", breaks)
    strikes = StrikeList(server, docket_name)

    await strikes.follow()
    await until(lambda: "Strikes are not followed any more in this process" in caplog.text)

    assert not strikes.is_loaded
    await strikes.close()


@pytest.mark.parametrize("turns", range(6))
async def test_a_list_that_is_closed_as_a_strike_is_heard_is_closed(
    docket: Docket, server: str, turns: int
) -> None:
    strikes = StrikeList(server, docket.name)
    closing: list[asyncio.Task[None]] = []

    async def close_after_turns() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await strikes.close()

    def close(_payload: bytes | None) -> None:
        closing.append(asyncio.create_task(close_after_turns()))

    subscriber = docket.connections.subscriber
    await strikes.connect()
    async with subscriber.listening(docket.keys.strikes_channel, close):
        await docket.strike("task")
        await until(lambda: bool(closing))

        await soon(closing[0])
