"""The client of the control socket: answers, and every way in which there is none."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipc.control import (
    PROTOCOL,
    ControlHello,
    Done,
    DrainRequest,
    DumpRequest,
    Refused,
    ReloadRequest,
    Report,
    ScaleRequest,
)
from ipc.framing import encode
from supervisor.control import lock_file, paths
from supervisor.ctl import client
from supervisor.ctl.client import Client, SeveralSupervisors, find
from supervisor.errors import NoSupervisor, OrderFailed, SupervisorGone
from supervisor.pool.state import pool_commands
from tests.support.control import served
from tests.support.fake_supervisor import scripted

pytestmark = pytest.mark.anyio

HELLO = encode(ControlHello(PROTOCOL, 1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pool.sock"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.1)


async def test_the_status_comes_as_it_was_sent(path: Path) -> None:
    def ask() -> str:
        with Client(path) as client:
            assert client.status() == client.status()
            return client.status()

    async with served(path):
        assert (await asyncio.to_thread(ask)).startswith('{"supervisor": {"pid": 1, ')


async def test_a_command_is_answered_when_the_pool_answers_it(path: Path) -> None:
    def ask() -> str:
        with Client(path) as client:
            return client.ask(ReloadRequest(), None).text

    async with served(path) as pool:
        asking = asyncio.create_task(asyncio.to_thread(ask))
        assert await pool.answer_next(pool_commands.Done("reloaded")) == pool_commands.Reload()
        assert await asking == "reloaded"


async def test_a_refused_command_fails_with_its_reason(path: Path) -> None:
    def ask() -> None:
        with Client(path) as client, pytest.raises(OrderFailed, match=r"^too many$"):
            client.ask(ScaleRequest(1000))

    async with served(path) as pool:
        asking = asyncio.create_task(asyncio.to_thread(ask))
        await pool.answer_next(pool_commands.Refused("too many"))
        await asking


async def test_the_wait_for_the_end_of_a_guest_does_not_wait_for_its_host(
    path: Path,
) -> None:
    def wait() -> str:
        with Client(path) as client:
            text = client.ask(DrainRequest(wait=True)).text
            client.wait_for_end()
            return text

    async with served(path, guest=True) as pool:
        waiting = asyncio.create_task(asyncio.to_thread(wait))
        await pool.answer_next(pool_commands.Done("draining"))
    assert await waiting == "draining"


def test_without_a_socket_there_is_no_supervisor(path: Path) -> None:
    with pytest.raises(
        NoSupervisor, match=r"no supervisor is running at .*: there is no such sock"
    ):
        Client(path)
    with pytest.raises(NoSupervisor, match="there is no such socket"):
        Client(Path(__file__) / "pool.sock")


def test_a_socket_without_a_listener_is_that_of_a_dead_supervisor(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
    with pytest.raises(NoSupervisor, match="nobody listens there any more"):
        Client(path)


def test_a_supervisor_that_accepts_no_connection_is_stopped_or_hangs(
    path: Path, impatient: None
) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(path))
        listener.listen(0)
        first.connect(str(path))
        with pytest.raises(OrderFailed, match="takes no connection: its supervisor is stopped"):
            Client(path)


def test_a_supervisor_that_sends_nothing_is_stopped_or_hangs(path: Path, impatient: None) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(OrderFailed, match=r"did not answer within 0\.1 s: it is stopped, or"):
            Client(path)


def ask_for_done(client: Client) -> object:
    return client.ask(DumpRequest())


def ask_for_status(client: Client) -> object:
    return client.status()


@pytest.mark.parametrize("ask", [ask_for_done, ask_for_status])
@pytest.mark.parametrize(
    ("reply", "kind", "why"),
    [
        (b"", SupervisorGone, "closed the connection without an answer"),
        (HELLO, SupervisorGone, "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\n\r\n", OrderFailed, "is no control socket of ours"),
        (encode(ControlHello(PROTOCOL + 1)), OrderFailed, "speaks protocol 2, this program 1"),
        (encode(Done("")), OrderFailed, "did not say Hello"),
        (HELLO + HELLO, OrderFailed, "said Hello twice"),
        (HELLO + encode(Refused("why not")), OrderFailed, "^why not$"),
    ],
)
def test_every_other_answer_has_its_error(
    ask: Callable[[Client], object], reply: bytes, kind: type[OrderFailed], why: str, path: Path
) -> None:
    with scripted(path, reply), pytest.raises(kind, match=why), Client(path) as client:
        ask(client)


@pytest.mark.parametrize(
    ("ask", "reply"), [(ask_for_done, Report("{}")), (ask_for_status, Done("done"))]
)
def test_an_answer_to_another_request_is_an_error(
    ask: Callable[[Client], object], reply: Report | Done, path: Path
) -> None:
    with (
        scripted(path, HELLO + encode(reply)),
        pytest.raises(OrderFailed, match="answered what was not asked"),
        Client(path) as client,
    ):
        ask(client)


@pytest.mark.parametrize("reply", [HELLO, HELLO + encode(Done("nobody asked"))])
def test_other_messages_do_not_end_the_wait_for_the_end(reply: bytes, path: Path) -> None:
    with scripted(path, reply), Client(path) as client:
        client.wait_for_end()


def test_a_client_leaves_no_descriptor_open(path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with scripted(path, encode(ControlHello(PROTOCOL, os.getpid())), b""):
        client = Client(path)
        client.close()
        client.close()
        with pytest.raises(SupervisorGone):
            Client(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# Finding the only one.


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "TEMPORARY", tmp_path / "nowhere")
    return tmp_path


@pytest.fixture
def live(folder: Path) -> Iterator[Callable[[str], Path]]:
    """A maker of live control sockets, by name."""
    locks: list[lock_file.Lock] = []

    def make(name: str) -> Path:
        path = folder / name
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
        lock = lock_file.take(path)
        assert lock is not None
        locks.append(lock)
        return path

    yield make
    for lock in locks:
        lock.release()


def test_the_only_live_supervisor_is_found(folder: Path, live: Callable[[str], Path]) -> None:
    path = live("orders-1.sock")
    (folder / "dead-2.sock").touch()
    (folder / "dead-2.sock.lock").write_bytes(lock_file.MARK)
    assert find({"XDG_RUNTIME_DIR": str(folder)}) == path


def test_several_supervisors_are_an_error_with_their_paths(
    folder: Path, live: Callable[[str], Path]
) -> None:
    paths = [live("mails-2.sock"), live("orders-1.sock")]
    with pytest.raises(SeveralSupervisors, match="2 supervisors are running; name one") as several:
        find({"XDG_RUNTIME_DIR": str(folder)})
    assert several.value.paths == paths


def test_without_a_supervisor_the_error_names_the_folders_searched(folder: Path) -> None:
    with pytest.raises(NoSupervisor, match=rf"\(looked in {folder}\); if its socket is elsewhere"):
        find({"XDG_RUNTIME_DIR": str(folder)})
    with pytest.raises(NoSupervisor, match=r"looked in .*/nowhere/docket-supervisor-\d+\)"):
        find({})


def test_ctl_loads_neither_an_event_loop_nor_redis_nor_docket() -> None:
    program = (
        "import sys, supervisor.cli, supervisor.cli.commands, supervisor.ctl.commands;"
        "heavy = {'asyncio', 'redis', 'docket', 'rich', 'prometheus_client', 'psutil'};"
        "print(sorted(heavy & {*sys.modules}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "[]\n"


async def test_what_a_supervisor_says_reaches_the_terminal_without_its_control_characters(
    path: Path,
) -> None:
    said = "done\x1b]0;owned\x07\r\u202e"

    def ask() -> tuple[str, str]:
        with Client(path) as client:
            text = client.ask(ReloadRequest(), None).text
            with pytest.raises(OrderFailed) as refused:
                client.ask(ReloadRequest(), None)
            return text, str(refused.value)

    async with served(path) as pool:
        asking = asyncio.create_task(asyncio.to_thread(ask))
        await pool.answer_next(pool_commands.Done(said))
        await pool.answer_next(pool_commands.Refused(said))
        for text in await asking:
            assert text == "done\\x1b]0;owned\\x07\\r\\u202e"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_whoever_listens_for_another_user_is_not_asked() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        Path(folder).chmod(0o1777)
        path = Path(folder) / "pool.sock"
        ready, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            listener.bind(str(path))
            listener.listen()
            os.write(told, b"x")
            listener.accept()
            os._exit(0)
        os.read(ready, 1)
        with pytest.raises(OrderFailed, match="the user with uid 65534, neither"):
            Client(path)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(told)
