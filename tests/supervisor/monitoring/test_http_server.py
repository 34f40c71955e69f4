"""The small HTTP server: correct and faulty probes."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest

from supervisor.config import Address
from supervisor.errors import AddressInUse, ConfigurationError, InUse
from supervisor.monitoring import http_server
from supervisor.monitoring.http_server import HttpServer, Response, text

pytestmark = pytest.mark.anyio

LOOPBACK = Address("127.0.0.1", 0)


def broken() -> Response:
    raise RuntimeError("no answer")


HANDLERS = {
    "/livez": lambda: text(HTTPStatus.OK, "ok"),
    "/status": lambda: text(HTTPStatus.OK, "secret"),
    "/broken": broken,
}


@asynccontextmanager
async def serving(*allowed_hosts: str) -> AsyncGenerator[Address]:
    server = HttpServer(LOOPBACK, HANDLERS, allowed_hosts)
    address = await server.start()
    try:
        yield address
    finally:
        await server.stop()
        await server.stop()


async def ask(address: Address, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_path_is_answered_with_its_length_and_the_connection_closed() -> None:
    async with serving() as address:
        answer = await ask(address, b"GET /livez?verbose HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 3" in head
    assert b"Connection: close" in head
    assert body == b"ok\n"


async def test_a_head_has_no_body() -> None:
    async with serving() as address:
        answer = await ask(address, b"HEAD /livez HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: 3" in answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /else HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST /livez HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"GET /broken HTTP/1.1\r\n\r\n", b"500 Internal Server Error"),
        (b"nonsense\r\n\r\n", b"400 Bad Request"),
        (b"GET /livez SPDY/9\r\n\r\n", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000, b"400 Bad Request"),
    ],
)
async def test_a_bad_request_has_its_status(request_: bytes, status: bytes) -> None:
    async with serving() as address:
        answer = await ask(address, request_)
    assert answer.startswith(b"HTTP/1.1 " + status)


async def test_an_incomplete_request_is_refused_and_an_empty_one_ignored() -> None:
    async with serving() as address:
        for request, beginning in ((b"GET /li", b"HTTP/1.1 400"), (b"", b"")):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(request)
            writer.write_eof()
            assert (await reader.read()).startswith(beginning)
            writer.close()
            await writer.wait_closed()


async def test_headers_that_never_end_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEADER_SECONDS", 0.05)
    async with serving() as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"GET /livez HTTP/1.1\r\n")
        assert await reader.read() == b""
        writer.close()


async def test_the_oldest_of_too_many_connections_is_closed_for_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 2)
    async with serving() as address:
        silent = [await asyncio.open_connection(address.host, address.port) for _ in range(5)]
        for _ in range(3):
            assert (await ask(address, b"GET /livez HTTP/1.1\r\n\r\n")).endswith(b"ok\n")
        for reader, _ in silent[:3]:
            assert await reader.read() == b""
        for _, writer in silent:
            writer.close()


async def test_a_stop_closes_open_connections() -> None:
    async with serving() as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"GET /livez HTTP/1.1\r\n")
        assert (await ask(address, b"GET /livez HTTP/1.1\r\n\r\n")).endswith(b"ok\n")
    assert await reader.read() == b""
    writer.close()


async def test_the_error_about_an_address_in_use_names_the_option() -> None:
    async with serving() as address:
        with pytest.raises(AddressInUse, match=rf"^--http: cannot listen on {address}"):
            await HttpServer(address, HANDLERS).start()


async def test_an_address_of_another_host_is_wrong_and_not_in_use() -> None:
    with pytest.raises(ConfigurationError, match=r"^--http: cannot listen on 192") as caught:
        await HttpServer(Address("192.0.2.1", 0), HANDLERS).start()
    assert not isinstance(caught.value, InUse)


async def status_under(address: Address, *hosts: str, path: str = "/status") -> bytes:
    headers = "".join(f"Host: {host}\r\n" for host in hosts)
    answer = await ask(address, f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode())
    return answer.split(b" ")[1]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9090",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1 evil.example",
        "[::1].evil.example:80",
        "",
    ],
)
async def test_a_foreign_name_that_leads_here_is_told_nothing(host: str) -> None:
    async with serving() as address:
        answer = await ask(address, f"GET /status HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 421 Misdirected Request")
        assert b"secret" not in answer
        assert b"--http-allow-host" in answer
        assert await status_under(address, host, path="/livez") == b"200", "a probe tells nothing"
        assert await status_under(address, "localhost", host) == b"421", "every Host counts"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:9090", "10.1.2.3", "[::1]:9090", "localhost:9090", "LOCALHOST.", "[fe80::1]"],
)
async def test_an_address_and_localhost_are_answered(host: str) -> None:
    async with serving() as address:
        assert await status_under(address, host) == b"200"
        assert await status_under(address) == b"200", "no browser leaves it out"


async def test_names_can_be_allowed_one_by_one_or_all() -> None:
    async with serving("pool.example", "OTHER.example") as address:
        for host in ("pool.example:80", "other.example"):
            assert await status_under(address, host) == b"200"
        assert await status_under(address, "evil.example") == b"421"
    async with serving("*") as address:
        assert await status_under(address, "evil.example") == b"200"
