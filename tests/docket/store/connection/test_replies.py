"""Replies: read as they arrive, however they are cut; what is none ends the connection."""

import asyncio
import logging
import operator
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis._parsers.base import BaseParser
from redis.exceptions import AuthenticationError, InvalidResponse, NoScriptError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from docket.store.connection.endpoint import Endpoint, connect
from docket.store.connection.pipeline import Pipeline
from docket.store.connection.replies import Replies
from tests.support.store import until

parse_error: Any = BaseParser.parse_error

values = st.recursive(
    st.one_of(st.none(), st.integers(-(2**62), 2**62), st.binary(max_size=30)),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


def encoded(value: Any) -> bytes:
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%s\r\n" % (len(value), value)
    return b"*%d\r\n" % len(value) + b"".join(map(encoded, value))


def read(pieces: Sequence[bytes]) -> tuple[list[Any], Exception | None]:
    """What is taken of these pieces, and how the connection ended, if it did."""

    async def run() -> tuple[list[Any], Exception | None]:
        taken: list[Any] = []
        replies = Replies(taken.append, parse_error)
        for piece in pieces:
            replies.data_received(piece)
        ended = replies.ended.exception() if replies.ended.done() else None
        return taken, ended if isinstance(ended, Exception) else None

    return asyncio.run(run())


@given(st.lists(values, max_size=5), st.data())
def test_replies_are_taken_in_their_order_however_they_are_cut(
    sent: list[Any], data: st.DataObject
) -> None:
    whole = b"".join(map(encoded, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert read(pieces) == (sent, None)


@pytest.mark.parametrize(
    ("line", "kind", "text"),
    [
        (b"-ERR no\r\n", ResponseError, "no"),
        (b"-NOSCRIPT none\r\n", NoScriptError, "none"),
        (b"-WRONGPASS bad\r\n", AuthenticationError, "bad"),
    ],
)
def test_an_error_is_taken_as_an_exception_of_its_class(
    line: bytes, kind: type[Exception], text: str
) -> None:
    taken, ended = read([line, b":1\r\n"])

    assert type(taken[0]) is kind
    assert text in str(taken[0])
    assert (taken[1:], ended) == ([1], None)


def test_what_is_no_reply_ends_the_connection_and_nothing_behind_it_is_taken() -> None:
    taken, ended = read([b":1\r\n", b"HTTP/1.1 400 Bad Request\r\n", b":2\r\n"])

    assert taken == [1]
    assert isinstance(ended, InvalidResponse)


@pytest.mark.anyio
async def test_the_first_reason_to_end_is_the_one_that_counts() -> None:
    replies = Replies(print, parse_error)
    replies.connection_lost(None)
    replies.connection_lost(OSError("later"))

    with pytest.raises(RedisConnectionError, match=r"^Connection closed by server\.$"):
        await replies.ended


@asynccontextmanager
async def answering(extra: bytes, *, then_close: bool = False) -> AsyncGenerator[str]:
    """A server that says OK to whatever it reads, and behind it, once, what nobody has asked for.

    Yields its URL.
    """
    unasked = [extra]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(b"+OK\r\n" * data.count(b"*"))
            if b"ECHO" in data and unasked:
                writer.write(unasked.pop())
            if then_close:
                break
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "extra", [b"+OK\r\n", b"-ERR what\r\n", b"-WRONGPASS who\r\n", b"what\r\n"]
)
async def test_a_reply_to_nothing_is_told_and_the_connection_is_made_anew(
    extra: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "docket.store"):
        async with answering(extra) as url:
            pipeline = Pipeline(Endpoint(url))
            pipeline.open()
            try:
                await pipeline.connected(5.0)
                assert await pipeline.command("ECHO", "a") == b"OK"
                await until(lambda: pipeline.disruptions == 1)
                assert await pipeline.command("ECHO", "b", patience_seconds=5.0) == b"OK"
            finally:
                await pipeline.close()
    (line,) = [each for each in caplog.messages if "lost or refused" in each]
    assert "connecting again until it stands" in line


@pytest.mark.anyio
async def test_a_connection_that_was_closed_before_it_is_handed_over_is_refused() -> None:
    async with answering(b"", then_close=True) as url:
        connection = Endpoint(url).direct_connection()
        await connect(connection)
        # The end arrives while nobody reads.
        await until(operator.attrgetter("_reader")(connection).at_eof)
        with pytest.raises(RedisConnectionError, match="closed by server"):
            connection.read_by(print)
        await connection.disconnect(nowait=True)
