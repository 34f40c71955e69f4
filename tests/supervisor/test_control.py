"""The control socket: what its owner is answered, and what everybody else gets."""

import asyncio
import logging
import os
import select
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ipc import control as messages
from ipc.control import (
    PROTOCOL,
    Done,
    Drain,
    Dump,
    Hello,
    Refused,
    Reload,
    Report,
    Request,
    Restart,
    Scale,
    Status,
)
from ipc.framing import encode
from supervisor import control, control_peer, control_place, orders
from supervisor.config import SupervisorConfig
from supervisor.control import MAX_CLIENTS, Control, Seldom
from supervisor.errors import ControlInUse, NoPlace
from supervisor.inbox import Command, Inbox
from tests.support.control import PATIENCE_SECONDS, REPORT, Caller, Served, names_in, served
from tests.support.processes import fork

pytestmark = pytest.mark.anyio

NOBODY = 65534
HELLO = Hello(PROTOCOL, 1)
#: Bytes that the kernel holds for a reader that does not read; a report over it stays with us.
OVER_EVERY_BUFFER = 8 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pool.sock"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients have a moment instead of five seconds."""
    monkeypatch.setattr(control_peer, "PATIENCE_SECONDS", 0.1)


async def hung_up(caller: socket.socket) -> None:
    """Wait until the other end has closed, without reading what it said."""
    poller = select.poll()
    poller.register(caller, 0)
    hung = await asyncio.to_thread(poller.poll, PATIENCE_SECONDS * 1000)
    assert [event for _, event in hung] == [select.POLLHUP]


async def still_serves(pool: Served) -> None:
    caller = await pool.caller()
    assert isinstance(await caller.ask(Status()), Report)
    await caller.close()


# What the owner asks.


async def test_the_status_is_the_json_of_the_report(path: Path) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        answers = [await caller.ask(Status()) for _ in range(3)]
        await caller.close()
    expected = '{"supervisor": {"pid": 1, "state": "running", "docket": "orders"}, '
    assert answers == [Report(expected + '"workers": [], "totals": {}}')] * 3


@pytest.mark.parametrize(
    ("request_", "order"),
    [
        (Scale(3), orders.Scale(3)),
        (Reload(), orders.Reload()),
        (Restart(2), orders.Restart(2)),
        (Dump(), orders.DumpAll()),
        (Drain(), orders.Drain()),
    ],
)
@pytest.mark.parametrize(
    ("outcome", "answer"),
    [(orders.Done("done"), Done("done")), (orders.Refused("why not"), Refused("why not"))],
)
async def test_an_order_goes_to_the_pool_and_its_outcome_comes_back(
    request_: Request,
    order: orders.Order,
    outcome: orders.Outcome,
    answer: messages.Answer,
    path: Path,
) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        caller.say(request_)
        assert await pool.answer_next(outcome) == order
        assert await caller.hear() == answer
        assert isinstance(await caller.ask(Status()), Report)
        await caller.close()


async def test_an_answer_may_take_longer_than_a_client_may(path: Path, impatient: None) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        caller.say(Reload())
        command = await pool.ordered()
        await asyncio.sleep(3 * control_peer.PATIENCE_SECONDS)
        command.answer(orders.Done("done"))
        assert await caller.hear() == Done("done")
        await caller.close()


async def test_a_reload_that_is_not_waited_for_is_answered_at_once(path: Path) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        assert isinstance(await caller.ask(Reload(wait=False)), Done)
        command = await pool.ordered()
        assert command.order == orders.Reload()
        command.answer(orders.Refused("nobody hears this"))
        assert isinstance(await caller.ask(Status()), Report)
        await caller.close()


async def test_who_waits_for_a_drain_is_told_its_beginning_and_sees_its_end(
    path: Path, impatient: None
) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        caller.say(Drain(wait=True))
        await pool.answer_next(orders.Done("draining"))
        assert await caller.hear() == Done("draining")
        heard = asyncio.create_task(caller.hear())
        await asyncio.sleep(3 * control_peer.PATIENCE_SECONDS)
        assert not heard.done()
    assert await heard is None
    await caller.close()


async def test_a_drain_that_is_refused_is_not_waited_for(path: Path, impatient: None) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        caller.say(Drain(wait=True))
        await pool.answer_next(orders.Refused("why not"))
        assert await caller.rest() == [Refused("why not")]
        await caller.close()


async def test_an_answer_for_a_client_that_has_gone_is_for_nobody(path: Path) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        caller.say(Scale(3))
        command = await pool.ordered()
        await caller.close()
        await still_serves(pool)
        command.answer(orders.Done("done"))
        await still_serves(pool)


async def test_an_answer_that_is_known_reaches_its_client_although_the_pool_ends(
    path: Path,
) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        caller.say(Drain())
        await pool.answer_next(orders.Done("draining"))
    assert await caller.rest() == [Done("draining")]
    await caller.close()
    assert names_in(path.parent) == set()


async def test_a_client_learns_the_pid_and_whether_the_pool_is_a_guest(path: Path) -> None:
    async with served(path, guest=True):
        caller = await Caller.connect(path)
        assert await caller.hear() == Hello(PROTOCOL, os.getpid(), guest=True)
        await caller.close()


async def test_a_report_that_fails_is_refused_and_logged(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = await control_place.claim_given(str(path))

    def fail() -> dict[str, Any]:
        raise RuntimeError("no report")

    serving = await Control(place, Inbox(), fail, guest=False).start()
    caller = await Caller.connect(path)
    caller.say(HELLO)
    await caller.hear()
    assert await caller.ask(Status()) == Refused("a bug of the supervisor; see its log")
    await caller.close()
    await serving.stop()
    assert "no report" in caplog.text


async def test_a_report_that_no_frame_holds_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_peer, "MAX_ANSWER", 200)
    async with served(path, {"supervisor": "x" * 300}) as pool:
        caller = await pool.caller()
        answer = await caller.ask(Status())
        await caller.close()
    assert isinstance(answer, Refused)
    assert "too large" in answer.text


# What is wrong with a client costs that client its connection.


@pytest.mark.parametrize(
    ("bytes_", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "over the limit"),
        (b"\x00\x00\x00\x03abc", "holds no message"),
        (encode(Status()), "it did not say Hello first"),
        (encode(HELLO) + encode(HELLO), "it said Hello twice"),
        (encode(HELLO) + encode(Scale(1)) + encode(Scale(2)), "before it was answered"),
        (encode(HELLO) + encode(Done("no request")), "holds no message"),
    ],
)
async def test_who_does_not_keep_the_protocol_is_dropped_and_the_others_are_served(
    bytes_: bytes, why: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(path) as pool:
        good = await pool.caller()
        caller = await Caller.connect(path)
        caller.writer.write(bytes_)
        heard = await caller.rest()
        assert [type(each) for each in heard] == [Hello]
        await caller.close()
        assert isinstance(await good.ask(Status()), Report)
        await good.close()
    assert f"a client (pid {os.getpid()}, uid {os.geteuid()}) was dropped: " in caplog.text
    assert why in caplog.text


@pytest.mark.parametrize("said", [b"", encode(HELLO), (encode(HELLO) + encode(Status()))[:-1]])
async def test_who_asks_nothing_is_dropped_half_a_frame_included(
    said: bytes, path: Path, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(path) as pool:
        caller = await Caller.connect(path)
        caller.writer.write(said)
        assert [type(each) for each in await caller.rest()] == [Hello]
        await caller.close()
        await still_serves(pool)
    assert "was dropped: it asked nothing within 0.1 s" in caplog.text


async def test_who_got_an_answer_and_asks_no_more_is_dropped_without_a_word(
    path: Path, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        await caller.ask(Status())
        assert await caller.hear() is None
        await caller.close()
    assert "was dropped" not in caplog.text


async def test_who_does_not_read_is_dropped_and_holds_nobody_up(
    path: Path, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(path, REPORT | {"workers": "x" * OVER_EVERY_BUFFER}) as pool:
        with socket.socket(socket.AF_UNIX) as slow:
            slow.connect(str(path))
            slow.sendall(encode(HELLO) + encode(Status()))
            await hung_up(slow)
        caller = await pool.caller()
        assert isinstance(await caller.ask(Status()), Report)
        await caller.close()
    assert "was dropped: it did not read its answer within 0.1 s" in caplog.text


async def test_who_does_not_read_does_not_hold_up_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "GOODBYE_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as slow:
        async with served(path, REPORT | {"workers": "x" * OVER_EVERY_BUFFER}):
            slow.connect(str(path))
            slow.sendall(encode(HELLO) + encode(Status()))
            await asyncio.get_running_loop().run_in_executor(None, slow.recv, 1 << 10)
        assert names_in(path.parent) == set()


async def test_another_protocol_is_told_which_one_is_spoken_here(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(path):
        caller = await Caller.connect(path)
        caller.say(Hello(PROTOCOL + 1))
        assert (await caller.rest())[1:] == [Refused("this supervisor speaks protocol 1, not 2")]
        await caller.close()
    assert "it speaks protocol 2, not 1" in caplog.text


async def test_a_hundred_clients_at_once_are_too_many_and_one_at_a_time_are_not(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(path) as pool:
        for _ in range(100):
            await still_serves(pool)
        crowd = [await Caller.connect(path) for _ in range(100)]
        for caller in crowd:
            assert isinstance(await caller.hear(), Hello)
        late = await crowd[-1].rest()
        assert late == [Refused("too many clients are connected; try again")]
        served_ones = 0
        for caller in crowd[:MAX_CLIENTS]:
            caller.say(HELLO)
            served_ones += isinstance(await caller.ask(Status()), Report)
        assert served_ones == MAX_CLIENTS
        for caller in crowd:
            await caller.close()
        await still_serves(pool)
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
        await still_serves(pool)
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
            caller.sendall(encode(HELLO) + encode(Status()))
            return caller.recv(1 << 16)
        except ConnectionError:
            return b""


# For as long as the pool runs.


async def test_a_pool_without_a_path_is_served_in_its_runtime_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    caplog.set_level(logging.INFO)
    path = tmp_path / f"orders-{os.getpid()}.sock"
    config = SupervisorConfig(docket="orders")
    async with control.serving(config, Inbox(), lambda: REPORT, guest=False):
        assert f"control socket: {path}" in caplog.text
        assert names_in(tmp_path) == {path.name, f"{path.name}.lock"}
    assert names_in(tmp_path) == set()


async def test_a_pool_with_a_path_is_served_there_and_a_second_one_is_not(path: Path) -> None:
    config = SupervisorConfig(control=str(path))
    async with control.serving(config, Inbox(), lambda: REPORT, guest=False):
        with pytest.raises(ControlInUse):
            await control.serving(config, Inbox(), lambda: REPORT, guest=False).__aenter__()
        caller = await Caller.connect(path)
        assert isinstance(await caller.hear(), Hello)
        await caller.close()


async def test_a_pool_that_can_write_nowhere_runs_without_a_control_socket(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def nowhere(_docket: str, _environment: object) -> object:
        raise NoPlace("--control: cannot make the folder /tmp/x: Read-only file system")

    monkeypatch.setattr(control, "claim_default", nowhere)
    async with control.serving(SupervisorConfig(), Inbox(), lambda: REPORT, guest=False):
        assert (
            "no control socket, so `ctl` cannot reach this pool: --control: cannot" in caplog.text
        )


async def test_a_client_that_comes_while_the_pool_ends_is_sent_away(path: Path) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
    assert await caller.hear() is None
    await caller.close()
    with pytest.raises(FileNotFoundError):
        await Caller.connect(path)


async def test_an_order_is_put_once_whatever_becomes_of_its_client(path: Path) -> None:
    async with served(path) as pool:
        caller = await pool.caller()
        caller.say(Scale(3))
        await caller.close()
        command = await pool.ordered()
        assert isinstance(command, Command)
        command.answer(orders.Done("done"))
        await still_serves(pool)


def test_of_many_like_events_one_in_a_while_is_said_with_the_number_of_the_others() -> None:
    seldom = Seldom(60.0)
    assert seldom.unsaid("a", 0.0) == 0
    assert [seldom.unsaid("a", at) for at in (1.0, 30.0, 59.9)] == [None, None, None]
    assert seldom.unsaid("b", 30.0) == 0
    assert seldom.unsaid("a", 60.0) == 3
    assert seldom.unsaid("a", 120.0) == 0
