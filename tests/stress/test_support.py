"""The parts that the stress programs share: waits, background work, answers of endpoints."""

import asyncio
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from stress.pool import ask
from stress.ports import free_port
from stress.waiting import eventually, in_background, insist, repeat

pytestmark = pytest.mark.anyio


async def test_a_condition_is_polled_until_it_holds_and_its_value_returned() -> None:
    replies = iter([OSError(), "", "there"])

    async def condition() -> str:
        match next(replies):
            case str(reply):
                return reply
            case error:
                raise error

    assert await eventually(condition, 5, every=0, despite=(OSError,)) == "there"


async def test_a_condition_that_does_not_hold_in_time_is_an_error() -> None:
    with pytest.raises(TimeoutError):
        await eventually(lambda: asyncio.sleep(0, False), 0.01, every=0)


async def test_a_call_is_repeated_until_the_server_answers_and_each_failure_is_told() -> None:
    failures: list[str] = []

    async def call() -> int:
        if not failures:
            raise ConnectionError
        return 7

    assert await insist(call, failed=lambda: failures.append("once")) == 7
    assert failures == ["once"]


async def test_background_work_ends_with_the_block_and_its_error_ends_the_block() -> None:
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise ValueError("third")

    with pytest.raises(ExceptionGroup) as raised:
        async with in_background(repeat(look, 0)):
            await asyncio.Event().wait()
    assert raised.group_contains(ValueError, match="third")
    async with in_background(repeat(lambda: asyncio.sleep(0), 0)):
        pass


@contextmanager
def answering(text: bytes) -> Generator[int]:
    """A port where one request is answered with that text."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(text)

        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


async def test_an_endpoint_is_asked_for_status_and_body() -> None:
    text = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
    with answering(text) as port:
        assert ask(port, "/readyz") == (503, "busy")


@pytest.mark.parametrize(
    "text", [b"", b"HTTP/1.1 200 OK\r\nCont", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"]
)
async def test_half_an_answer_is_none(text: bytes) -> None:
    with answering(text) as port, pytest.raises(ConnectionError):
        ask(port, "/status")
    with pytest.raises(ConnectionRefusedError):
        ask(free_port(), "/status")
