"""The dashboard under attack: connections, headers, forms, passwords, and its log of acts."""

import asyncio
import base64
import contextlib
import logging
import os
import threading
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from docket import Docket
from docket.listing import ListedState
from tests.support.dockets import in_background, soon

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytest.importorskip("jinja2", reason="the extra web is not installed")

from docket.web import Action, BasicUsers, app, connection_bounds, view
from docket.web.password_hashes import hashed, is_hash, matches
from docket.web.server import Access, listening, server_of
from docket.web.user_file import read_users
from tests.support.web_client import HOST, Answer, Browser

pytestmark = pytest.mark.anyio


async def greet() -> None: ...


@pytest.fixture
async def docket(server: str, docket_name: str) -> AsyncGenerator[Docket]:
    async with Docket(docket_name, server) as docket:
        yield docket


@pytest.fixture
async def browser(docket: Docket) -> AsyncGenerator[Browser]:
    browser = Browser(app(docket))
    yield browser
    await browser.close()


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


# Connections ------------------------------------------------------------------------------


@pytest.fixture
async def port(docket: Docket, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[int]:
    """The port of a dashboard for ten connections, each of which has half a second to ask."""
    monkeypatch.setattr(connection_bounds, "HEADERS_SECONDS", 0.5)
    monkeypatch.setattr(connection_bounds, "fitting_number", lambda: 10)
    listener = listening(Access(port=0))
    served = server_of([docket], Access())
    serving = asyncio.ensure_future(served.serve([listener]))
    yield listener.getsockname()[1]
    served.should_exit = True
    await soon(serving)
    listener.close()


async def asked(port: int, request: str, *rest: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.replace("\n", "\r\n").encode())
    try:
        for each in rest:
            await asyncio.sleep(0.1)
            writer.write(each)
            await writer.drain()
    except ConnectionError:
        pass  # It was not waited for.
    try:
        return await soon(reader.read())
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_clients_that_ask_for_nothing_keep_nobody_out(docket: Docket, port: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        idle: list[asyncio.StreamReader] = []
        for _ in range(40):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            writer.write(b"GET / HTTP/1.1\r\n")
            idle.append(reader)

        page = f"GET /d/{docket.name}/ HTTP/1.1\nHost: 127.0.0.1\nConnection: close\n\n"
        assert (await asked(port, page)).startswith(b"HTTP/1.1 200")
        for reader in idle:  # And each of them ends.
            with contextlib.suppress(ConnectionResetError):
                assert await soon(reader.read()) == b""


@pytest.mark.parametrize(
    "begun",
    ["", "GET / HTTP/1.1\n", "GET / HTTP/1.1\nHost: 127.0.0.1\n\nGET / HTTP/1.1\nHost: "],
)
async def test_a_request_that_never_ends_is_not_waited_for(port: int, begun: str) -> None:
    answer = await asked(port, begun, *([b"x"] * 3))

    assert answer.count(b"HTTP/1.1") == begun.count("\n\n")


async def test_a_body_that_was_answered_is_not_waited_for(docket: Docket, port: int) -> None:
    head = (
        f"POST /d/{docket.name}/act/cancel HTTP/1.1\nHost: 127.0.0.1\nOrigin: http://evil\n"
        "Content-Length: 1000000\n\n"
    )

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.replace("\n", "\r\n").encode())
    assert (await soon(reader.readline())).startswith(b"HTTP/1.1 403")

    async def drip() -> None:
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)

    with contextlib.suppress(ConnectionError):
        async with in_background(drip()):
            await soon(reader.read())
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_headers_have_a_bound_and_nothing_of_it_is_logged(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await asked(port, "GET / HTTP/1.1\nX: ", b"x" * 200_000)
    await asked(port, "nonsense\n\n")
    await asked(port, "GET / HTTP/1.1\nHost: 127.0.0.1\nUpgrade: x\nConnection: upgrade, close\n\n")

    assert b"200 OK" not in answer
    assert [r.getMessage() for r in caplog.records if r.name.startswith("uvicorn")] == []


async def test_the_bound_fits_the_descriptors_of_the_process() -> None:
    assert 0 < connection_bounds.fitting_number() <= connection_bounds.MOST_CONNECTIONS


async def test_a_form_that_does_not_arrive_is_not_waited_for(
    docket: Docket, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "FORM_SECONDS", 0.1)
    await docket.add(greet, key="one")()
    sent: list[dict[str, Any]] = []
    parts = iter([{"type": "http.request", "body": b"key=one&", "more_body": True}])

    async def receive() -> dict[str, Any]:
        for part in parts:
            return part
        return await asyncio.Event().wait() and {}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    kind = "application/x-www-form-urlencoded"
    headers = {"origin": f"http://{HOST}", "content-type": kind}
    scope = browser.scope("POST", f"/d/{docket.name}/act/cancel", headers)
    await soon(browser.app(scope, receive, send))

    assert sent[0]["status"] == 408


# Headers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//[", "http://]/"])
async def test_an_origin_that_is_none_is_refused(
    docket: Docket, browser: Browser, origin: str
) -> None:
    answer = await browser.post(f"/d/{docket.name}/act/cancel", [], {"origin": origin})

    assert answer.status == 403


@pytest.mark.parametrize("host", ["[", "x]", "evil/?", "a@b/c?d#", "127.0.0.1/d/other?x="])
async def test_the_host_header_is_no_part_of_an_address(docket: Docket, host: str) -> None:
    browser = Browser(app(docket, authorize=lambda request, action: "ann"), host=host)

    page = await browser.get(f"/d/{docket.name}/tasks?x=1")

    assert page.status == 200
    assert f'data-live="/d/{docket.name}/tasks?x=1"' in page.text
    await browser.close()


@pytest.mark.parametrize(
    "back",
    [
        "http://[", "//[", "/d/{}/%2e%2e/%2E%2e/logout", "/d/{}/%2e./x", "/d/{}/..%2f..%2flogout",
        "/d/{}/\x00", " //evil.example", "\x1f//evil.example/",
    ],
)  # fmt: skip
async def test_an_act_leads_back_to_no_other_place(
    docket: Docket, browser: Browser, back: str
) -> None:
    form = [("confirmed", "yes"), ("back", back.format(docket.name))]

    done = await browser.post(f"/d/{docket.name}/act/pause", form)

    assert done.status == 303
    assert done.header("location").partition("?")[0].rstrip("%0") == f"/d/{docket.name}/"


# Forms and addresses ----------------------------------------------------------------------

INSTANTS = [
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00Z",
    "9999-12-31T23:59:59.999999Z", "2030-01-01T00:00", "2030-W01-1T00+01", "\x00",
]  # fmt: skip
NUMBERS = ["nan", "1e400", "-1", "9" * 30, "9" * 5000, "1_0", "\uff11"]
TEXTS = ["\x1b[31m", "\x00", "\U0001f600", "<b>", "x" * 70_000]
FIELDS = {
    "since": INSTANTS, "until": INSTANTS, "at": INSTANTS, "first": NUMBERS, "size": NUMBERS,
    "slot": NUMBERS, "cursor": ["x", "gA==", "\u00e9"], "state": ["x"], "over": ["x"],
    **dict.fromkeys(["function", "key_prefix", "worker", "error", "key", "reason"], TEXTS),
    **dict.fromkeys(["notice", "order", "task", "back", "delay", "length", "strike"], TEXTS[:2]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("", ["over", "notice"]), ("functions", ["over"]), ("audit", ["first"]), ("task", ["key"]),
        ("tasks", ["since", "until", "cursor", "state"]),
        ("tasks", ["function", "key_prefix", "worker", "error"]),
        ("act/cancel", ["key", "order", "task", "back"]), ("act/strike", ["function", "strike"]),
        ("act/retry", ["since", "until", "state", "error"]), ("act/pause", ["function", "length"]),
    ],
)  # fmt: skip
async def test_a_page_answers_whatever_its_address_says(
    docket: Docket, browser: Browser, page: str, names: list[str]
) -> None:
    for name in names:
        for value in FIELDS[name]:
            address = f"/d/{docket.name}/{page}?{urlencode({name: value, 'by': 'filter'})}"
            for each in (address, address.removesuffix("&by=filter")):
                answer = await browser.get(each)
                assert answer.status in (200, 400, 404), (each[:100], answer.words)


STRIKES = [
    [
        ("operator", operator),
        ("type", kind),
        ("value", value if operator != "between" else f"{value},1"),
    ]
    for operator in ("==", "between", ">", "nonsense")
    for kind in ("text", "integer", "number", "true or false", "x")
    for value in ("x", "nan", "9" * 5000)
]  # fmt: skip


@pytest.mark.parametrize("action", [a.value for a in Action if a is not Action.VIEW])
async def test_an_act_is_done_or_refused_whatever_its_form_says(
    docket: Docket, browser: Browser, action: str
) -> None:
    await docket.add(greet, datetime.now(UTC) + timedelta(hours=1), key="one")()
    forms = [[(name, value)] for name, values in FIELDS.items() for value in values]
    if action == "strike":
        forms += [[("function", "f"), ("parameter", "p"), *each] for each in STRIKES]

    for each in forms:
        form = [("confirmed", "yes"), ("key", "one"), *each]
        answer = await browser.post(f"/d/{docket.name}/act/{action}", form)
        assert answer.status in (303, 400, 403, 404, 413), (each, answer.status, answer.words)
    for page in ("", "holds", "audit", "tasks", "schedules"):
        assert (await browser.get(f"/d/{docket.name}/{page}")).status == 200


# Passwords --------------------------------------------------------------------------------


async def test_whoever_guesses_has_few_tries_that_wait_and_keeps_nobody_else_waiting(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()
    tried: list[str] = []

    def slow(password: str, kept: str) -> bool:
        tried.append(password)
        may_go_on.wait(10)
        return password == "right"

    monkeypatch.setattr("docket.web.password_hashes.matches", slow)
    users = BasicUsers({"ann": hashed("right")})
    browser, other = (Browser(app(docket, authorize=users)) for _ in range(2))
    browser.client, other.client = "10.0.0.66", "10.0.0.7"
    path = f"/d/{docket.name}/"

    guesses = [
        asyncio.ensure_future(browser.get(path, basic("ann", f"guess {n}"))) for n in range(100)
    ]
    done: set[asyncio.Task[Answer]] = set()
    while len(done) < 92:
        done, _ = await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
    assert {each.result().status for each in done} == {429}
    mine = asyncio.ensure_future(other.get(path, basic("ann", "right")))
    may_go_on.set()

    assert (await soon(mine)).status == 200
    assert {(await each).status for each in guesses} == {401, 429}
    assert len(tried) == 9


async def test_a_name_cannot_be_continued_by_a_part_of_a_password(docket: Docket) -> None:
    browser = Browser(app(docket, authorize=BasicUsers({"ann": hashed("a\0b")})))
    path = f"/d/{docket.name}/audit"

    assert (await browser.get(path, basic("ann", "a\0b"))).status == 200
    assert (await browser.get(path, basic("ann\0a", "b"))).status == 401
    await browser.close()


@pytest.mark.parametrize(
    "numbers",
    [
        "16383$8$1", "3$8$1", "0$8$1", "-2$8$1", "2$0$1", "2$1$0", "1048576$32$16",
        "65536$1$1", "2$1$16777216", "4194304$1$1", "16384$8$100000", "2$999999999$1",
    ],
)  # fmt: skip
def test_numbers_that_scrypt_does_not_take_are_no_hash(numbers: str) -> None:
    empty = base64.b64encode(bytes(32)).decode()

    assert not is_hash(f"scrypt${numbers}${empty}${empty}")


@pytest.mark.parametrize("numbers", ["2$1$1", "16384$8$1", "32768$1$3", "2$8$1000"])
def test_what_is_taken_for_a_hash_can_be_tried(numbers: str) -> None:
    empty = base64.b64encode(bytes(32)).decode()
    kept = f"scrypt${numbers}${empty}${empty}"

    assert is_hash(kept)
    assert not matches("secret", kept)


# The file of users ------------------------------------------------------------------------


@pytest.fixture
def line() -> str:
    return f"ann:{hashed('secret')}\n"


def test_a_file_of_users_that_anybody_may_write_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "users"
    file.write_text(line)
    file.chmod(0o666)

    with pytest.raises(ValueError, match=r"could add a user .* chmod o-rw"):
        BasicUsers.of_file(file)


def test_one_that_anybody_may_read_is_told_and_a_link_is_followed(
    tmp_path: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    file, link = tmp_path / "users", tmp_path / "link"
    file.write_text(line)
    link.symlink_to(file)
    file.chmod(0o600)
    assert list(read_users(link)) == ["ann"]
    assert caplog.records == []

    file.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert list(read_users(link)) == ["ann"]
    assert "can read the hashes" in caplog.text


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    fifo, large = tmp_path / "fifo", tmp_path / "large"
    os.mkfifo(fifo, 0o600)
    large.write_bytes(b"#" * 1_000_001)
    large.chmod(0o600)

    with pytest.raises(ValueError, match="no regular file"):
        BasicUsers.of_file(fifo)
    with pytest.raises(ValueError, match="no regular file"):
        BasicUsers.of_file(Path("/dev/zero"))
    with pytest.raises(ValueError, match="cannot be read"):
        BasicUsers.of_file(tmp_path)
    with pytest.raises(ValueError, match="more than 1000000 bytes"):
        BasicUsers.of_file(large)


# The log of acts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["all: failed", "a, b", "x by root from 10.0.0.1: done", "'a'", "", "nothing\n", "\x1b"]
)
async def test_a_key_cannot_be_taken_for_something_else_in_the_log(
    docket: Docket, browser: Browser, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    await docket.add(greet, key="plain-1:2/x")()
    form = [("confirmed", "yes"), ("key", "plain-1:2/x"), ("key", key)]

    with caplog.at_level(logging.INFO, "docket.audit"):
        await browser.post(f"/d/{docket.name}/act/cancel", form, {"x-forwarded-for": ""})

    (act,) = await docket.recorded_acts()
    expected = f"2 tasks: plain-1:2/x, {key!r}" if key else "plain-1:2/x"
    assert act.target == expected
    (record,) = [r for r in caplog.records if r.name == "docket.audit"]
    assert record.getMessage().startswith(f"{docket.name}: cancel {expected} by - from 127.0.0.1: ")


async def test_a_header_of_the_client_does_not_read_like_the_log(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    browser = Browser(app(docket, authorize=lambda request, action: "ann by root"))
    browser.headers = {"x-forwarded-for": "10.0.0.1): paused f by root from 10.0.0.1 (for 1"}

    with caplog.at_level(logging.INFO, "docket.audit"):
        await browser.post(f"/d/{docket.name}/act/resume", [("confirmed", "yes")])
        browser.headers = {"x-forwarded-for": "10.0.0.1, [2001:db8::1]:80"}
        await browser.post(f"/d/{docket.name}/act/resume", [("confirmed", "yes")])
    await browser.close()

    newest, older = await docket.recorded_acts()
    assert newest.origin == "127.0.0.1 (for 10.0.0.1, [2001:db8::1]:80)"
    assert older.origin.endswith("(for '10.0.0.1): paused f by root from 10.0.0.1 (for 1')")
    assert "by 'ann by root' from" in caplog.text


async def test_the_log_is_shown_whatever_somebody_else_wrote_there(
    docket: Docket, browser: Browser
) -> None:
    async with docket.redis() as redis:
        deep = b'{"newer":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        await redis.lpush(docket.keys.audit, b"\xff", b"{}", b"[" * 5000, b'{"at":1e999}', deep)
    await browser.post(f"/d/{docket.name}/act/resume", [("confirmed", "yes")])

    assert len(await docket.recorded_acts()) == 1
    for first in ("0", "-1", "9" * 30, "9" * 5000, "x"):
        answer = await browser.get(f"/d/{docket.name}/audit?first={first}")
        assert answer.status == (200 if first == "0" else 400)
    assert (await docket.counts_by_state())[ListedState.QUEUED] == 0
