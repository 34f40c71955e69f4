"""The lock file of a control socket: held, stale, removed, and files that are not ours."""

import errno
import fcntl
import os
import signal
import socket
from pathlib import Path

import pytest

from supervisor.control import lock_file
from supervisor.control.lock_file import is_live, live_sockets, sweep, take
from supervisor.errors import ConfigurationError
from tests.support.control import held_elsewhere, lock_path, names_in

NOBODY = 65534


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def test_a_lock_that_is_held_is_live_and_is_not_taken_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    assert not is_live(path)
    lock = take(path)
    assert lock is not None
    assert is_live(path)
    assert lock_path(path).stat().st_mode & 0o777 == 0o600
    assert take(path) is None
    lock.release()
    assert not is_live(path)
    assert names_in(tmp_path) == set()


def test_a_lock_is_released_once(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    first = take(path)
    assert first is not None
    first.release()
    second = take(path)
    first.release()
    assert second is not None
    assert is_live(path)
    second.release()


def test_the_lock_of_a_killed_process_is_stale_although_its_children_live(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with held_elsewhere(path) as process:
        assert is_live(path)
        assert take(path) is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_live(path)
        assert lock_path(path).exists()
        lock = take(path)
    assert lock is not None
    assert lock_path(path).read_text() == f"docket-supervisor {os.getpid()}\n"
    lock.release()


def test_a_lock_whose_file_was_removed_while_it_was_opened_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.sock"
    opened: list[int] = []
    real = fcntl.flock

    def remove_meanwhile(fd: int, operation: int) -> None:
        opened.append(fd)
        if len(opened) == 1:
            lock_path(path).unlink()
        real(fd, operation)

    monkeypatch.setattr(lock_file.fcntl, "flock", remove_meanwhile)
    lock = take(path)
    assert lock is not None
    assert len(opened) == 2
    assert lock_path(path).exists()
    lock.release()


def test_a_lock_that_replaced_the_one_that_was_opened_is_the_one_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.sock"
    real = fcntl.flock
    successors: list[lock_file.Lock | None] = []

    def be_replaced(fd: int, operation: int) -> None:
        monkeypatch.setattr(lock_file.fcntl, "flock", real)
        lock_path(path).unlink()
        successors.append(take(path))
        real(fd, operation)

    monkeypatch.setattr(lock_file.fcntl, "flock", be_replaced)
    assert take(path) is None
    (successor,) = successors
    assert successor is not None
    assert is_live(path)
    successor.release()


def test_two_tests_of_a_lock_do_not_disturb_each_other(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.sock"
    lock_path(path).write_bytes(lock_file.MARK)
    with lock_path(path).open() as testing:
        fcntl.flock(testing, fcntl.LOCK_SH)
        assert not is_live(path)


def test_a_link_in_place_of_the_lock_file_is_not_followed(tmp_path: Path) -> None:
    path, target = tmp_path / "a.sock", tmp_path / "precious"
    target.write_text("precious")
    lock_path(path).symlink_to(target)
    with pytest.raises(ConfigurationError, match="cannot make the lock file"):
        take(path)
    assert target.read_text() == "precious"
    assert not is_live(path)


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"No such file or directory; give the path"):
        take(tmp_path / "missing" / "a.sock")


def test_a_file_system_without_locks_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_fd: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    path = tmp_path / "a.sock"
    lock_path(path).write_bytes(lock_file.MARK)
    monkeypatch.setattr(lock_file.fcntl, "flock", refuse)
    with pytest.raises(ConfigurationError, match=r"cannot lock .*: No locks available; give the"):
        take(path)
    assert not is_live(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_the_lock_file_of_another_user_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    lock_path(path).touch()
    os.chown(lock_path(path), NOBODY, NOBODY)
    with pytest.raises(ConfigurationError, match="not a file of ours"):
        take(path)


def test_live_sockets_are_found_and_stale_ones_and_those_of_others_are_not(tmp_path: Path) -> None:
    for name in ("live.sock", "bare.sock", "foreign.sock"):
        bind(tmp_path / name)
    (tmp_path / "file.sock").touch()
    lock_path(tmp_path / "foreign.sock").write_text("of another program")
    (tmp_path / "dangling.sock").symlink_to(tmp_path / "nowhere")
    names = ("live.sock", "file.sock", "dangling.sock", "unbound.sock")
    locks = [take(tmp_path / name) for name in names]
    with lock_path(tmp_path / "foreign.sock").open() as foreign:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        assert live_sockets(tmp_path) == [tmp_path / "live.sock"]
    assert live_sockets(tmp_path / "missing") == []
    for lock in locks:
        assert lock is not None
        lock.release()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a socket away")
def test_the_socket_of_a_third_user_is_not_taken_for_a_supervisor_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    bind(path)
    lock = take(path)
    assert lock is not None
    assert live_sockets(tmp_path) == [path]
    os.chown(path, NOBODY, NOBODY)
    assert live_sockets(tmp_path) == []
    lock.release()


def test_the_files_of_a_killed_supervisor_are_removed_and_no_others(tmp_path: Path) -> None:
    stale, live, foreign = (tmp_path / name for name in ("stale.sock", "live.sock", "other.sock"))
    for path in (live, foreign):
        bind(path)
    lock_path(foreign).write_text("of another program")
    with held_elsewhere(stale) as process:
        sweep(tmp_path)
        assert stale.exists()
        process.kill()
        process.wait()
    lock = take(live)
    sweep(tmp_path)
    assert lock is not None
    assert names_in(tmp_path) == {"live.sock", "live.sock.lock", "other.sock", "other.sock.lock"}
    lock.release()


def test_a_fifo_in_place_of_the_lock_hangs_nobody(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    bind(path)
    os.mkfifo(lock_path(path))
    assert not is_live(path)
    assert live_sockets(tmp_path) == []
    sweep(tmp_path)
    with pytest.raises(ConfigurationError, match="is not a file of ours"):
        take(path)


def test_a_second_name_of_another_file_is_no_lock(tmp_path: Path) -> None:
    path, other = tmp_path / "a.sock", tmp_path / "precious"
    other.write_text("keep")
    os.link(other, lock_path(path))
    with pytest.raises(ConfigurationError, match="is not a file of ours"):
        take(path)
    assert other.read_text() == "keep"
