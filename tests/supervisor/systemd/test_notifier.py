"""The socket of the service manager, with a real one at its other end."""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipc.messages import Heartbeat, KeeperBeat, WorkerCounters
from supervisor.pool.state.inbox_events import (
    BeatReceived,
    CommandReceived,
    SignalReceived,
    Tick,
    WorkerMessage,
)
from supervisor.pool.state.pool_commands import Drain
from supervisor.signals import ReceivedSignal
from supervisor.systemd.notifier import RETRY_SECONDS, Notifier
from tests.support.recording_process_control import Rig
from tests.support.service_managers import ServiceManager, bound

PID = 4242
ROUTINE = [
    BeatReceived(1, KeeperBeat(1, 0.0, None)),
    WorkerMessage(1, Heartbeat(1, 0.0, [], 0, WorkerCounters(), 1)),
]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServiceManager]:
    path = tmp_path / "notify.sock" if request.param == "path" else None
    with ServiceManager(path) as listening:
        yield listening


def test_a_ready_pool_is_reported_at_a_path_and_at_an_abstract_address(
    manager: ServiceManager,
) -> None:
    rig = Rig().boot()
    notifier = Notifier(rig.pool_state, manager.environment(), PID)
    notifier.update(Tick(), rig.now)
    assert manager.wait_for("READY=1").value("STATUS") == "2 of 2 workers ready"
    notifier.close()
    notifier.close()
    notifier.update(Tick(), rig.now + 100)
    assert manager.count == 1


def test_a_hangup_is_answered_although_the_pool_did_not_reload(tmp_path: Path) -> None:
    rig = Rig().boot()
    with ServiceManager(tmp_path / "s") as manager:
        notifier = Notifier(rig.pool_state, manager.environment(), PID)
        notifier.update(Tick(), rig.now)
        notifier.update(SignalReceived(ReceivedSignal(signal.SIGHUP, 107.5)), 107.5)
        assert manager.wait_for("RELOADING=1").value("MONOTONIC_USEC") == "107500000"
        manager.wait_for("READY=1", after=2)
        notifier.update(Tick(), 109.0)
        notifier.close()
        assert manager.count == 3


@pytest.mark.parametrize("event", ROUTINE, ids=lambda each: type(each).__name__)
def test_heartbeats_send_nothing(event: BeatReceived | WorkerMessage, tmp_path: Path) -> None:
    rig = Rig().boot()
    with bound(tmp_path / "s") as listener:
        notifier = Notifier(rig.pool_state, {"NOTIFY_SOCKET": str(tmp_path / "s")}, PID)
        notifier.update(event, rig.now)
        with pytest.raises(BlockingIOError):
            listener.recv(4096)
        notifier.update(Tick(), rig.now)
        assert listener.recv(4096).startswith(b"READY=1\n")
        notifier.close()


def test_without_a_service_manager_nothing_is_sent_and_nothing_is_due(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig().boot()
    notifier = Notifier(rig.pool_state, {"WATCHDOG_USEC": "1000000"}, PID)
    notifier.update(Tick(), rig.now)
    assert notifier.next_due(None) is None
    assert notifier.next_due(5.0) == 5.0
    assert not caplog.records


def test_a_missing_service_manager_is_logged_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "gone"
    rig = Rig().boot()
    notifier = Notifier(rig.pool_state, {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000"}, PID)
    for _ in range(5):
        notifier.update(Tick(), rig.now)
        rig.now += RETRY_SECONDS
    (record,) = caplog.records
    assert (record.levelno, str(path) in record.getMessage()) == (logging.WARNING, True)
    assert "No such file" in record.getMessage()
    assert notifier.next_due(7.0) == 7.0, "it would spin"

    with bound(path) as listener:
        notifier.update(Tick(), rig.now - RETRY_SECONDS / 2)
        with pytest.raises(BlockingIOError):
            listener.recv(4096)
        notifier.update(Tick(), rig.now)
        assert listener.recv(4096).startswith(b"READY=1\n")
        notifier.close()


def test_a_service_manager_that_does_not_read_delays_nothing_and_gets_everything_in_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig().boot()
    environment = {"NOTIFY_SOCKET": str(tmp_path / "s"), "WATCHDOG_USEC": "1000"}
    with bound(tmp_path / "s") as listener:
        notifier = Notifier(rig.pool_state, environment, PID)
        notifier.update(Tick(), rig.now)
        while notifier.next_due(None) is not None:  # until its queue is full
            rig.now += 0.5
            rig.beat(rig.first)
            rig.beat(rig.second)
            notifier.update(Tick(), rig.now)
        notifier.update(SignalReceived(ReceivedSignal(signal.SIGHUP, rig.now)), rig.now)
        rig.feed(CommandReceived(Drain()))
        read = _read_all(listener)
        assert read[0].startswith("READY=1\n")
        assert set(read[1:]) == {"WATCHDOG=1"}

        rig.now += RETRY_SECONDS
        notifier.update(Tick(), rig.now)
        unsent, stopping = _read_all(listener)
        assert unsent == "WATCHDOG=1"
        assert stopping.startswith("STOPPING=1\n")
        notifier.close()
    assert not caplog.records


def _read_all(listener: socket.socket) -> list[str]:
    found: list[str] = []
    while True:
        try:
            found.append(listener.recv(4096).decode())
        except BlockingIOError:
            return found


@pytest.mark.parametrize("given", ["vsock:2:1234", "notify.sock", "@", "/"])
def test_an_address_of_another_kind_is_logged_once(
    given: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig().boot()
    notifier = Notifier(rig.pool_state, {"NOTIFY_SOCKET": given}, PID)
    notifier.update(Tick(), rig.now)
    notifier.close()
    (record,) = caplog.records
    assert repr(given) in record.getMessage()


def test_an_address_that_is_too_long_for_a_socket_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig().boot()
    notifier = Notifier(rig.pool_state, {"NOTIFY_SOCKET": "/" + "x" * 200}, PID)
    for _ in range(3):
        notifier.update(Tick(), rig.now)
        rig.now += RETRY_SECONDS
    notifier.close()
    (record,) = caplog.records
    assert "too long" in record.getMessage()


@pytest.mark.parametrize(
    ("environment", "due"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 101.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": ""}, 101.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(PID)}, 101.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(PID + 1)}, None),
        ({}, None),
    ],
)
def test_signs_of_life_are_sent_to_a_watchdog_of_this_process_only(
    environment: dict[str, str], due: float | None, tmp_path: Path
) -> None:
    rig = Rig().boot()
    rig.beat(rig.first)
    with bound(tmp_path / "s") as listener:
        notifier = Notifier(
            rig.pool_state, environment | {"NOTIFY_SOCKET": str(tmp_path / "s")}, PID
        )
        notifier.update(Tick(), rig.now)
        assert notifier.next_due(None) == due
        assert listener.recv(4096).endswith(b"\nWATCHDOG=1") == (due is not None)
        notifier.close()


@pytest.mark.parametrize("given", ["", "0", "soon", "-5", "1.5", "٣"])
def test_a_watchdog_time_that_is_no_number_is_logged_once(
    given: str, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier(Rig().pool_state, {"WATCHDOG_USEC": given}, PID)
    assert notifier.next_due(None) is None
    (record,) = caplog.records
    assert repr(given) in record.getMessage()


def test_its_socket_is_not_inherited_and_does_not_block(tmp_path: Path) -> None:
    rig = Rig().boot()
    with bound(tmp_path / "s"):
        before = _sockets()
        notifier = Notifier(rig.pool_state, {"NOTIFY_SOCKET": str(tmp_path / "s")}, PID)
        notifier.update(Tick(), rig.now)
        (fd,) = _sockets() - before
        assert (os.get_inheritable(fd), os.get_blocking(fd)) == (False, False)
        notifier.close()
        assert _sockets() == before


def _sockets() -> set[int]:
    return {
        int(each.name)
        for each in Path("/proc/self/fd").iterdir()
        if each.is_symlink() and str(each.readlink()).startswith("socket:")
    }
