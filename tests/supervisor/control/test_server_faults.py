"""A client of the control socket that breaks the protocol loses its connection."""

import asyncio
import os
import select
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipc.control import PROTOCOL, ControlHello, Done, Refused, Report, ScaleRequest, StatusRequest
from ipc.framing import encode
from supervisor.control import server, session
from supervisor.control.server import MAX_CLIENTS, LogThrottle
from tests.support.control import GREETING, PATIENCE_SECONDS, REPORT, Caller, names_in, served
from tests.support.processes import fork

pytestmark = pytest.mark.anyio

NOBODY = 65534
#: Bytes that the kernel holds for a reader that does not read; a report over it stays with us.
OVER_EVERY_BUFFER = 8 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pool.sock"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give clients 0.1 s instead of five."""
    monkeypatch.setattr(session, "PATIENCE_SECONDS", 0.1)


async def hung_up(caller: socket.socket) -> None:
    """Wait until the other end has closed, without reading from it."""
    poller = select.poll()
    poller.register(caller, 0)
    hung = await asyncio.to_thread(poller.poll, PATIENCE_SECONDS * 1000)
    assert [event for _, event in hung] == [select.POLLHUP]


@pytest.mark.parametrize(
    ("bytes_", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "over the limit"),
        (b"\x00\x00\x00\x03abc", "holds no message"),
        (encode(StatusRequest()), "it did not say Hello first"),
        (GREETING + GREETING, "it said Hello twice"),
        (GREETING + encode(ScaleRequest(1)) + encode(ScaleRequest(2)), "before it was answered"),
        (GREETING + encode(Done("no request")), "holds no message"),
    ],
)
async def test_a_client_that_breaks_the_protocol_is_dropped_and_the_others_are_served(
    bytes_: bytes, why: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(path) as pool:
        good = await pool.caller()
        caller = await Caller.connect(path, bytes_)
        heard = await caller.rest()
        assert [type(each) for each in heard] == [ControlHello]
        await caller.close()
        assert isinstance(await good.ask(StatusRequest()), Report)
        await good.close()
    assert f"a client (pid {os.getpid()}, uid {os.geteuid()}) was dropped: " in caplog.text
    assert why in caplog.text


@pytest.mark.parametrize("sent", [b"", GREETING, (GREETING + encode(StatusRequest()))[:-1]])
async def test_a_client_that_asks_nothing_is_dropped_with_half_a_frame_too(
    sent: bytes, path: Path, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(path) as pool:
        caller = await Caller.connect(path, sent)
        assert [type(each) for each in await caller.rest()] == [ControlHello]
        await caller.close()
        await pool.still_serves()
    assert "was dropped: it asked nothing within 0.1 s" in caplog.text


async def test_a_client_that_was_answered_is_dropped_without_a_log_line(
    path: Path, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(path):
        caller = await Caller.connect(path, GREETING + encode(StatusRequest()))
        assert [type(each) for each in await caller.rest()] == [ControlHello, Report]
        await caller.close()
    assert "was dropped" not in caplog.text


async def test_a_client_that_does_not_read_is_dropped_and_delays_no_other(
    path: Path,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(path, REPORT | {"workers": "x" * OVER_EVERY_BUFFER}) as pool:
        with socket.socket(socket.AF_UNIX) as slow:
            slow.connect(str(path))
            slow.sendall(GREETING + encode(StatusRequest()))
            await hung_up(slow)
        # Clients that read have enough time, however slow the machine is.
        monkeypatch.setattr(session, "PATIENCE_SECONDS", PATIENCE_SECONDS)
        await pool.still_serves()
    assert "was dropped: it did not read its answer within 0.1 s" in caplog.text


async def test_a_client_that_does_not_read_does_not_delay_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "GOODBYE_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as slow:
        async with served(path, REPORT | {"workers": "x" * OVER_EVERY_BUFFER}):
            slow.connect(str(path))
            slow.sendall(GREETING + encode(StatusRequest()))
            await asyncio.get_running_loop().run_in_executor(None, slow.recv, 1 << 10)
        assert names_in(path.parent) == set()


async def test_another_protocol_is_refused_with_the_one_of_the_supervisor(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(path):
        caller = await Caller.connect(path)
        caller.send(ControlHello(PROTOCOL + 1))
        assert (await caller.rest())[1:] == [Refused("this supervisor speaks protocol 1, not 2")]
        await caller.close()
    assert "it speaks protocol 2, not 1" in caplog.text


async def test_a_hundred_clients_at_once_are_too_many_and_one_at_a_time_are_not(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session, "PATIENCE_SECONDS", PATIENCE_SECONDS)
    async with served(path) as pool:
        for _ in range(100):
            await pool.still_serves()
        crowd = [await Caller.connect(path) for _ in range(100)]
        for caller in crowd:
            assert isinstance(await caller.receive(), ControlHello)
        late = await crowd[-1].rest()
        assert late == [Refused("too many clients are connected; try again")]
        served_ones = 0
        for caller in crowd[:MAX_CLIENTS]:
            caller.writer.write(GREETING)
            served_ones += isinstance(await caller.ask(StatusRequest()), Report)
        assert served_ones == MAX_CLIENTS
        for caller in crowd:
            await caller.close()
        await pool.still_serves()
    assert caplog.text.count("there are too many") == 1


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A path that no folder's mode keeps from anybody."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder, "pool.sock")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
async def test_another_user_is_dropped_unheard_and_logged_once(
    open_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(open_path) as pool:
        await asyncio.to_thread(open_path.chmod, 0o666)  # the kernel's word alone must do
        for _ in range(3):
            heard = await asyncio.to_thread(as_nobody, lambda: talk_to(open_path))
            assert heard == b""
        await pool.still_serves()
    assert caplog.text.count(f"uid {NOBODY}) was dropped: only the user of the supervisor") == 1


def as_nobody(act: Callable[[], bytes]) -> bytes:
    """What `act` returns in a child that has given root up."""
    read, write = os.pipe()
    pid = fork()
    if pid == 0:
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(write, b"=" + act())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    assert said.startswith(b"="), "the child could not connect"
    return said[1:]


def talk_to(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        try:
            caller.sendall(GREETING + encode(StatusRequest()))
            return caller.recv(1 << 16)
        except ConnectionError:
            return b""


def test_of_many_like_events_one_in_a_while_is_said_with_the_number_of_the_others() -> None:
    throttle = LogThrottle(60.0)
    assert throttle.skipped_before("a", 0.0) == 0
    assert [throttle.skipped_before("a", at) for at in (1.0, 30.0, 59.9)] == [None, None, None]
    assert throttle.skipped_before("b", 30.0) == 0
    assert throttle.skipped_before("a", 60.0) == 3
    assert throttle.skipped_before("a", 120.0) == 0
