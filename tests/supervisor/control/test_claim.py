"""Claims to the path of a control socket: modes, stale sockets, live ones, namesakes."""

import asyncio
import fcntl
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from supervisor.control import lock_file, paths
from supervisor.control.claim import SocketClaim, claim_default, claim_given
from supervisor.errors import ConfigurationError, ControlInUse
from tests.support.control import held_elsewhere, lock_path, names_in

pytestmark = pytest.mark.anyio


def stale_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_the_socket_is_its_owners_only_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        claim = await claim_given(str(tmp_path / "a.sock"))
    finally:
        os.umask(before)
    mode = claim.path.lstat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    claim.release()
    claim.release()
    assert names_in(tmp_path) == set()


async def test_the_socket_is_never_open_to_others_not_even_before_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = Path.chmod

    def look(path: Path, mode: int) -> None:
        seen.append(stat.S_IMODE(path.lstat().st_mode))
        real(path, mode)

    monkeypatch.setattr(Path, "chmod", look)
    before = os.umask(0)
    try:
        claim = await claim_given(str(tmp_path / "a.sock"))
    finally:
        os.umask(before)
    assert seen == [0o600]
    claim.release()


async def test_the_socket_of_a_supervisor_that_was_killed_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with held_elsewhere(path) as process:
        process.kill()
        process.wait()
        claim = await claim_given(str(path))
    assert lock_file.is_live(path)
    claim.release()


async def test_the_path_of_a_live_supervisor_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    claim = await claim_given(str(path))
    claim.socket.listen()
    with pytest.raises(ControlInUse, match=f"another supervisor is running at {path}; end it"):
        await claim_given(str(path))
    claim.release()


async def test_a_lock_that_is_held_is_enough_for_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.control.claim.PATIENCE_SECONDS", 0.1)
    path = tmp_path / "a.sock"
    with held_elsewhere(path):
        with pytest.raises(ControlInUse):
            await claim_given(str(path))
        assert path.exists()


async def test_a_socket_that_answers_is_not_taken_although_its_lock_file_was_removed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.sock"
    claim = await claim_given(str(path))
    claim.socket.listen()
    lock_path(path).unlink()
    with pytest.raises(ControlInUse):
        await claim_given(str(path))
    claim.release()


async def test_a_socket_whose_backlog_is_full_answers_too(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    callers = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        for _ in range(3):
            caller = socket.socket(socket.AF_UNIX)
            caller.setblocking(False)
            callers.append(caller)
            try:
                caller.connect(str(path))
            except BlockingIOError:
                break
        with pytest.raises(ControlInUse):
            await claim_given(str(path))
    for caller in callers:
        caller.close()


async def test_a_test_of_the_lock_is_not_taken_for_a_live_supervisor(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    lock_path(path).write_bytes(lock_file.MARK)
    with lock_path(path).open() as testing:
        fcntl.flock(testing, fcntl.LOCK_SH)
        claiming = asyncio.create_task(claim_given(str(path)))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not claiming.done()
        fcntl.flock(testing, fcntl.LOCK_UN)
        claim = await claiming
    claim.release()


async def test_a_file_that_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("precious")
    with pytest.raises(ConfigurationError, match=r"cannot listen at .*: there is something"):
        await claim_given(str(path))
    assert path.read_text() == "precious"
    assert not lock_path(path).exists()


async def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot make the lock file .* No such file"):
        await claim_given(str(tmp_path / "missing" / "a.sock"))


async def test_a_claim_is_released_although_its_socket_was_removed(tmp_path: Path) -> None:
    claim = await claim_given(str(tmp_path / "a.sock"))
    claim.path.unlink()
    claim.release()
    assert names_in(tmp_path) == set()


async def test_pools_of_one_process_have_paths_of_their_own(tmp_path: Path) -> None:
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    namesakes = [await claim_default("orders", environment)]
    namesakes[0].socket.listen()
    namesakes.append(await claim_default("orders", environment))
    pid = os.getpid()
    assert [claim.path.name for claim in namesakes] == [
        f"orders-{pid}.sock",
        f"orders-{pid}-2.sock",
    ]
    for claim in namesakes:
        claim.release()


async def test_a_pool_for_which_every_name_is_taken_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.control.claim.MOST_NAMESAKES", 1)
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    claim = await claim_default("orders", environment)
    claim.socket.listen()
    with pytest.raises(ControlInUse, match="all names after it are taken"):
        await claim_default("orders", environment)
    claim.release()


async def test_a_start_removes_stale_sockets_from_its_folder(
    tmp_path: Path,
) -> None:
    with held_elsewhere(tmp_path / "orders-1.sock") as process:
        process.kill()
        process.wait()
        claim: SocketClaim = await claim_default("orders", {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert names_in(tmp_path) == {claim.path.name, lock_path(claim.path).name}
    claim.release()


async def test_without_any_variable_the_path_is_in_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    # Short, as /tmp itself is: there is little room in the path of a socket.
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        monkeypatch.setattr(paths, "TEMPORARY", Path(temporary))
        claim = await claim_default("orders", {})
        assert claim.path.parent == Path(temporary, f"docket-supervisor-{os.geteuid()}")
        claim.release()


async def test_a_release_leaves_the_socket_and_lock_of_the_next_owner_alone(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "a.sock"
    former = await claim_given(str(path))
    shutil.rmtree(folder)
    folder.mkdir()
    owner = await claim_given(str(path))
    former.release()
    assert names_in(folder) == {path.name, lock_path(path).name}
    assert lock_file.is_live(path)
    owner.release()
    assert names_in(folder) == set()
