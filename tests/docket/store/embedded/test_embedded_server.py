"""A server of our own: where it lives, how it is set up, how it ends."""

import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from docket.store.embedded import embedded_server
from tests.support.embedded import (
    await_end,
    await_no_process_of,
    folder,
    measured_guards,
    owner_of,
    readable,
    temporary,
)

__all__ = ["folder", "temporary"]
pytestmark = pytest.mark.usefixtures(measured_guards.__name__)


@pytest.fixture
def server(temporary: Path) -> Iterator[embedded_server.EmbeddedServer]:
    running = embedded_server.start("memory://")
    yield running
    running.stop()


def client_of(server: embedded_server.EmbeddedServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_memory_server_answers_as_soon_as_it_was_started(
    server: embedded_server.EmbeddedServer,
) -> None:
    with client_of(server) as client:
        assert client.ping()
        assert client.info()["process_id"] == server.pid


def test_only_this_user_reaches_the_server_and_only_by_its_socket(
    server: embedded_server.EmbeddedServer,
) -> None:
    socket = Path(server.url.removeprefix("unix://"))
    assert socket.parent == server.folder
    assert mode_of(server.folder) == 0o700
    assert mode_of(socket) == 0o600
    assert mode_of(server.folder / "server.log") == 0o600
    kinds = {connection.type for connection in psutil.Process(server.pid).net_connections("inet")}
    assert kinds == set()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the umask is told by Linux")
def test_whatever_the_server_makes_is_closed_to_others_from_its_first_moment(
    server: embedded_server.EmbeddedServer,
) -> None:
    status = Path(f"/proc/{server.pid}/status").read_text()
    assert "Umask:\t0077" in status


def test_the_server_is_set_up_for_a_queue(server: embedded_server.EmbeddedServer) -> None:
    with client_of(server) as client:
        settings = client.config_get("*")
    expected = {
        "port": "0",
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
        "latency-tracking": "no",
        "io-threads": "1",
        "databases": "16",
        "unixsocketperm": "600",
    }
    assert {name: settings[name] for name in expected} == expected


def test_stop_ends_the_server_and_removes_its_folder_and_may_be_repeated(temporary: Path) -> None:
    server = embedded_server.start("memory://stopped")
    before = list(temporary.iterdir())
    server.stop()
    server.stop()
    assert before == [server.folder]
    assert server.ended
    assert server.lifeline == -1
    assert list(temporary.iterdir()) == []
    assert not psutil.pid_exists(server.pid)
    await_no_process_of(server.folder)


def test_a_memory_server_that_was_told_to_save_still_leaves_nothing_behind(temporary: Path) -> None:
    server = embedded_server.start("memory://")
    with client_of(server) as client:
        client.config_set("appendonly", "yes")
        client.set("a", "1")
        client.save()
    assert (server.folder / "appendonlydir").is_dir()
    server.stop()
    assert list(temporary.iterdir()) == []


def test_an_embedded_server_keeps_its_data_and_its_url(folder: Path) -> None:
    url = f"embedded://{folder}/data"
    first = embedded_server.start(url)
    with client_of(first) as client:
        assert client.config_get("append*")["appendonly"] == "yes"
        assert client.config_get("append*")["appendfsync"] == "always"
        client.set("kept", "yes")
    first.stop()
    second = embedded_server.start(url)
    with client_of(second) as client:
        assert client.get("kept") == "yes"
    second.stop()
    assert first.url == second.url == f"unix://{folder}/data/valkey.sock"
    assert mode_of(folder / "data") == 0o700
    assert not (folder / "data/valkey.sock").exists()


def test_a_server_killed_in_the_middle_leaves_what_it_acknowledged(folder: Path) -> None:
    first = embedded_server.start(f"embedded://{folder}")
    with client_of(first) as client:
        client.set("kept", "yes")
    psutil.Process(first.pid).kill()
    assert readable(first.fileno())
    first.stop()
    second = embedded_server.start(f"embedded://{folder}")
    with client_of(second) as client:
        assert client.get("kept") == "yes"
    second.stop()


def test_a_path_too_long_for_a_socket_gets_one_elsewhere(folder: Path, temporary: Path) -> None:
    data = folder / ("long" * 30)
    server = embedded_server.start(f"embedded://{data}")
    with client_of(server) as client:
        client.set("a", "1")
    assert server.folder == data
    assert server.url.startswith(f"unix://{temporary}/docket-")
    server.stop()
    assert {path.name for path in data.iterdir()} == {"appendonlydir", "docket.lock", "server.log"}
    assert list(temporary.iterdir()) == []


def test_a_temporary_folder_too_deep_for_a_socket_is_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    deep = temporary / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    server = embedded_server.start("memory://")
    with client_of(server) as client:
        assert client.ping()
    server.stop()
    assert list(deep.iterdir()) == []
    assert not server.folder.exists()


def test_any_name_of_a_folder_will_do(folder: Path) -> None:
    name = "it's 100% naïve #1"
    server = embedded_server.start(f"embedded://{folder}/{name.replace('%', '%25')}")
    with client_of(server) as client:
        assert client.ping()
    server.stop()
    assert (folder / name / "docket.lock").is_file()


def test_a_readable_folder_of_ours_is_closed_to_others(folder: Path) -> None:
    folder.chmod(0o755)
    (folder / "lost+found").mkdir()
    embedded_server.start(f"embedded://{folder}").stop()
    assert mode_of(folder) == 0o700


def test_data_that_is_still_being_read_is_waited_for(folder: Path) -> None:
    first = embedded_server.start(f"embedded://{folder}")
    with client_of(first) as client:
        client.set("kept", "yes")
    first.stop()
    # Each is one command of the append-only file. The server answers LOADING between them.
    command = b"*3\r\n$5\r\nDEBUG\r\n$5\r\nSLEEP\r\n$4\r\n0.05\r\n"
    [increment] = (folder / "appendonlydir").glob("*.incr.aof")
    with increment.open("ab") as file:
        file.write(command * 4)
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nlast\r\n$3\r\nyes\r\n" * 50_000)
    second = embedded_server.start(f"embedded://{folder}")
    with client_of(second) as client:
        assert client.mget("kept", "last") == ["yes", "yes"]
    second.stop()


def test_a_server_that_dies_is_told_to_its_owner_and_its_folder_removed(temporary: Path) -> None:
    server = embedded_server.start("memory://")
    assert not server.ended
    psutil.Process(server.pid).kill()
    assert readable(server.fileno())
    assert server.ended
    server.stop()
    assert list(temporary.iterdir()) == []


def test_a_client_that_shuts_the_server_down_ends_its_guard_too(
    server: embedded_server.EmbeddedServer,
) -> None:
    with client_of(server) as client:
        client.shutdown(nosave=True)
    await_no_process_of(server.folder)
    assert server.ended


def test_the_log_is_bounded(folder: Path) -> None:
    folder.joinpath("docket.lock").touch()
    log = folder / "server.log"
    log.write_bytes(b"x" * (1 << 20) + b"old\n")
    embedded_server.start(f"embedded://{folder}").stop()
    assert log.stat().st_size < 100_000
    assert b"Ready to accept connections" in log.read_bytes()


def test_a_program_without_standard_streams_can_start_one(temporary: Path) -> None:
    script = """if True:
        import os
        for fd in (0, 1, 2):
            os.close(fd)
        from docket.store.embedded import embedded_server
        server = embedded_server.start("memory://")
        assert server.lifeline > 2 and server.fileno() > 2
        server.stop()
        os._exit(7)
    """
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 7


def test_the_guard_is_no_child_that_its_owner_could_trip_over(
    server: embedded_server.EmbeddedServer,
) -> None:
    guard = psutil.Process(server.pid).ppid()
    with pytest.raises(ChildProcessError):
        os.waitpid(guard, os.WNOHANG)
    assert os.getsid(guard) not in {os.getsid(0), 0}


def test_a_start_leaves_the_signal_mask_as_it_was(temporary: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    try:
        embedded_server.start("memory://").stop()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before | {signal.SIGALRM}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_neither_guard_nor_server_knows_the_owners_service_manager(
    monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/nowhere")
    monkeypatch.setenv("LISTEN_FDS", "3")
    server = embedded_server.start("memory://")
    guard = psutil.Process(server.pid).parent()
    assert guard is not None
    environment = guard.environ()  # the server overwrites its own with its title
    server.stop()
    assert "PATH" in environment
    assert not {"NOTIFY_SOCKET", "LISTEN_FDS"} & environment.keys()


def test_the_lifeline_is_not_inherited_by_what_is_executed(
    server: embedded_server.EmbeddedServer,
) -> None:
    assert not os.get_inheritable(server.lifeline)
    script = f"import os; os.fstat({server.lifeline})"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, close_fds=False, check=False
    )
    assert b"Bad file descriptor" in run.stderr


def test_a_server_holds_no_descriptor_of_its_owner(server: embedded_server.EmbeddedServer) -> None:
    pipes = re.compile(r"pipe:\[\d+\]")
    ours = {
        str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in (server.lifeline, server.fileno())
    }
    entries = Path(f"/proc/{server.pid}/fd").iterdir()
    theirs = {str(entry.readlink()) for entry in entries}
    assert all(pipes.fullmatch(pipe) for pipe in ours)
    assert not ours & theirs


def test_a_shared_server_is_one_a_url(temporary: Path) -> None:
    first, second = embedded_server.shared("memory://"), embedded_server.shared("MEMORY://")
    other = embedded_server.shared("memory://other")
    assert first is second
    assert other.url != first.url
    first.stop()
    other.stop()


def test_a_shared_folder_is_one_however_its_path_is_written(folder: Path) -> None:
    server = embedded_server.shared(f"embedded://{folder}/data/")
    assert embedded_server.shared(f"embedded://{folder}/./data") is server
    server.stop()


def test_a_shared_server_that_ended_is_replaced(temporary: Path) -> None:
    first = embedded_server.shared("memory://replaced")
    psutil.Process(first.pid).kill()
    assert readable(first.fileno())
    second = embedded_server.shared("memory://replaced")
    with client_of(second) as client:
        assert client.ping()
    assert first.lifeline == -1
    second.stop()


def test_threads_that_share_at_once_start_one_server(temporary: Path) -> None:
    servers: list[embedded_server.EmbeddedServer] = []
    together = threading.Barrier(4)

    def share() -> None:
        together.wait()
        servers.append(embedded_server.shared("memory://threads"))

    threads = [threading.Thread(target=share) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(servers) == 4
    assert len(set(servers)) == 1
    servers[0].stop()


_FORKS = """
import os
child = os.fork()
if child == 0:
    same = embedded_server.shared(sys.argv[1])
    same.stop()
    print(same.url, same.lifeline, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(embedded_server.shared(sys.argv[1]).ended, flush=True)
"""


def test_a_forked_child_shares_its_parents_server_and_does_not_stop_it(temporary: Path) -> None:
    shares = _FORKS.replace(
        "import os", "import os\nserver = embedded_server.shared(sys.argv[1])", 1
    )
    with owner_of("memory://family", then=shares) as owner:
        assert owner.process.stdout is not None
        child, lifeline = owner.process.stdout.readline().split()
        assert child.startswith("unix://")
        assert child != owner.url  # that one was not `shared`
        assert lifeline == "-1"
        assert owner.process.stdout.readline() == "False\n"
    await_end(owner.pid)
    await_no_process_of(temporary)
    assert list(temporary.iterdir()) == []
