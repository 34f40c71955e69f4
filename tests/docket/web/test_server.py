"""`docket web`: refused where it would be open, served where it is not."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from docket import Docket
from docket.web.password_hashes import matches
from docket.web.server import access_of
from tests.support.dockets import soon
from tests.support.programs import ROOT, environment, run_docket

pytestmark = pytest.mark.anyio

URL = ("--url", "redis://127.0.0.1:1")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--bind", "0.0.0.0:8790"], "without authentication the dashboard listens on loopback"),
        (["--bind", "[::]:8790"], "without authentication"),
        (["--bind", "192.0.2.1:8790"], "without authentication"),
        (["--bind", "0.0.0.0:8790", "--read-only"], "without authentication"),
        (["--bind", "8790"], "is not of the form HOST:PORT"),
        (["--bind", "example.com:8790"], "the host is an address"),
        (["--bind", "127.0.0.1:99999"], "is not of the form HOST:PORT"),
        (["--users", "/nowhere"], "cannot be read"),
        (["--users", "x", "--trust-header", "y"], "Give one of"),
        (["--trust-header", "x", "--trust-proxy", "everybody"], "does not appear to be"),
        (["--authorize", "no_such_module:f"], "--authorize"),
        (["--root-path", "docket"], "begins with a slash"),
        (["--docket", "a", "--docket", "a"], "named twice"),
        (["--url", "memory://"], "memory://"),
    ],
)
async def test_what_cannot_be_served_is_refused_with_2(options: list[str], says: str) -> None:
    given = options if "--url" in options else [*options, *URL]

    code, _, errors = await run_docket("web", *given)

    assert code == 2
    assert says in errors


async def test_a_port_that_is_taken_is_refused(unused_port: int) -> None:
    code, _, errors = await run_docket("web", *URL, "--bind", f"127.0.0.1:{unused_port}")

    assert code == 2
    assert "cannot listen" in errors


async def test_a_file_of_users_is_made_of_what_web_user_prints(tmp_path: Path) -> None:
    code, line, _ = await run_docket("web-user", "ann", "--password", "secret")
    file = tmp_path / "users"
    file.write_text(f"# those who may\n\n{line}", "utf-8")
    options = {"bind": "0.0.0.0:0", "read_only": False, "trust_header": None, "authorize": None}

    access = access_of(
        load_authorize=lambda _: lambda *_: True,
        users=str(file),
        trust_proxy=(),
        root_path="",
        origins=(),
        **options,
    )

    assert code == 0
    assert matches("secret", line.strip().partition(":")[2])
    assert access.authorize is not None
    assert (await run_docket("web-user", "a:b", "--password", "x"))[0] == 2


@contextlib.asynccontextmanager
async def serving(
    docket: Docket, *options: str
) -> AsyncGenerator[tuple[str, int, asyncio.subprocess.Process]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "docket", "web", "--docket", docket.name, "--url", docket.url),
        *("--bind", "127.0.0.1:0", *options),
        cwd=ROOT,
        env=environment({}),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = (await soon(process.stdout.readline())).decode()
        found = re.search(r"http://(127\.0\.0\.1):(\d+)/", line)
        assert found is not None, line
        yield found[1], int(found[2]), process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def answered(host: str, port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
    )
    answer = await soon(reader.read())
    writer.close()
    return answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_a_signal_and_ends_with_0_though_somebody_follows(
    docket: Docket, number: signal.Signals
) -> None:
    async with serving(docket) as (host, port, process):
        page = await answered(host, port, f"/d/{docket.name}/")
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(
            f"GET /d/{docket.name}/ HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Accept: text/event-stream\r\n\r\n".encode()
        )
        await soon(reader.readuntil(b"event: page"))
        os.kill(process.pid, number)
        code = await soon(process.wait())
        writer.close()

    assert page.startswith(b"HTTP/1.1 200")
    assert b"server: uvicorn" not in page
    assert code == 0
