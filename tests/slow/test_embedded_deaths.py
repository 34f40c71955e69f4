"""The server of an owner that dies, at any moment and in any way, dies with it; not before it."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
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
    processes_of,
    readable,
    run_owner,
    temporary,
)
from tests.support.parameters import rest_in_full

__all__ = ["folder"]
pytestmark = pytest.mark.usefixtures(measured_guards.__name__, temporary.__name__)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_the_server_ends_with_an_owner_that_is_killed(
    number: signal.Signals, temporary: Path
) -> None:
    with owner_of("memory://") as owner:
        assert psutil.pid_exists(owner.pid)
        owner.process.send_signal(number)
        await_end(owner.pid)
    await_no_process_of(temporary)
    assert list(temporary.iterdir()) == []


def test_the_server_ends_with_an_owner_that_just_returns(temporary: Path) -> None:
    with owner_of("memory://") as owner:
        owner.process.communicate()
        assert owner.process.returncode == 0
        await_end(owner.pid)
    await_no_process_of(temporary)
    assert list(temporary.iterdir()) == []


# The owner's own alarm kills it (SIGALRM's default is the end, with no clean-up at all), so that
# the moment is one of its start and not of ours. Imports take 100 ms, the start itself 65.
_DIES_SOON = """
import signal, sys
from docket.store.embedded import embedded_server
signal.setitimer(signal.ITIMER_REAL, float(sys.argv[2]))
server = embedded_server.start(sys.argv[1])
signal.pause()
"""


MOMENTS = [number / 200 for number in range(1, 17)]


@pytest.mark.parametrize("seconds", rest_in_full(MOMENTS, MOMENTS[3::4]))
def test_an_owner_killed_in_the_middle_of_the_start_leaves_nothing(
    seconds: float, folder: Path, temporary: Path
) -> None:
    data = folder / ("d" * 100)  # too long for a socket, so there is a temporary folder, too
    command = [sys.executable, "-c", _DIES_SOON, f"embedded://{data}", str(seconds)]
    # Unmeasured: coverage's data file, too, would be left half written.
    environment = {name: os.environ[name] for name in os.environ if "COVERAGE" not in name}
    owner = subprocess.run(command, env=environment, check=False)
    assert owner.returncode == -signal.SIGALRM
    await_no_process_of(data)
    await_no_process_of(temporary)
    assert list(temporary.iterdir()) == []


_BEARS_SIGNALS = """
import signal
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
    signal.signal(number, lambda *_: None)
print("bears them", flush=True)
"""


def test_signals_to_all_processes_at_once_do_not_end_the_server(folder: Path) -> None:
    with owner_of(f"embedded://{folder}/data", then=_BEARS_SIGNALS) as owner:
        assert owner.process.stdout is not None
        assert owner.process.stdout.readline() == "bears them\n"
        guard = psutil.Process(owner.pid).parent()
        assert guard is not None
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            for pid in (owner.pid, guard.pid):
                os.kill(pid, number)
            os.killpg(owner.process.pid, number)
        with redis.Redis.from_url(owner.url) as client:
            assert client.set("a", "1")
            assert client.info()["process_id"] == owner.pid
        assert guard.is_running()


def test_signals_that_meet_the_guard_while_it_starts_do_not_end_it(temporary: Path) -> None:
    process = run_owner("memory://")
    assert process.stdout is not None
    # From its first moment on: as soon as a process names the temporary folder, it gets them all.
    hit = set[int]()
    while not hit:
        for guard in processes_of(temporary):
            # What forks the guard ends at once: then the guard itself is still to be hit.
            with contextlib.suppress(psutil.NoSuchProcess):
                for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
                    guard.send_signal(number)
                hit.add(guard.pid)
    url = process.stdout.readline().strip()
    with redis.Redis.from_url(url) as client:
        assert client.ping()
    process.kill()
    process.communicate()
    await_no_process_of(temporary)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a child with its parent")
def test_a_killed_guard_takes_the_server_with_it_and_the_owner_removes_the_rest(
    temporary: Path,
) -> None:
    server = embedded_server.start("memory://")
    guard = psutil.Process(server.pid).parent()
    assert guard is not None
    guard.kill()
    await_end(server.pid)
    assert readable(server.fileno())
    assert server.ended
    assert list(temporary.iterdir()) == [server.folder]
    server.stop()
    assert list(temporary.iterdir()) == []


_FORKS = """
import os
child = os.fork()
if child == 0:
    os.setsid()
    sys.stdin.read()
    os._exit(0)
print(child, flush=True)
"""


def test_the_server_outlives_its_starter_as_long_as_a_forked_child_lives(temporary: Path) -> None:
    with owner_of("memory://", then=_FORKS) as owner:
        assert owner.process.stdout is not None
        assert owner.process.stdin is not None
        child = int(owner.process.stdout.readline())
        owner.process.kill()
        owner.process.wait()
        with redis.Redis.from_url(owner.url) as client:
            assert client.ping()
        owner.process.stdin.close()
        await_end(child)
        await_end(owner.pid)
    await_no_process_of(temporary)
    assert list(temporary.iterdir()) == []


_EXECUTES = """
import subprocess
task = subprocess.Popen(["sleep", "60"], close_fds=False)
print(task.pid, flush=True)
"""


def test_a_subprocess_of_the_owner_does_not_keep_the_server(temporary: Path) -> None:
    with owner_of("memory://", then=_EXECUTES) as owner:
        assert owner.process.stdout is not None
        task = int(owner.process.stdout.readline())
        owner.process.kill()
        await_end(owner.pid)
        assert psutil.pid_exists(task)
        os.kill(task, signal.SIGKILL)


def test_stop_does_not_wait_for_a_forked_child_that_holds_on(temporary: Path) -> None:
    server = embedded_server.start("memory://")
    held = os.dup(server.lifeline)
    server.stop()
    os.close(held)
    assert not psutil.pid_exists(server.pid)


def test_a_server_too_busy_to_answer_is_killed(temporary: Path) -> None:
    with owner_of("memory://") as owner:
        client = redis.Redis.from_url(owner.url, socket_timeout=0.05, retry=None)
        with pytest.raises(redis.TimeoutError):
            client.eval("while true do end", 0)
        owner.process.kill()
        await_end(owner.pid)
        client.close()
    await_no_process_of(temporary)
    assert list(temporary.iterdir()) == []


def test_a_folder_is_free_again_when_its_killed_owners_server_has_ended(folder: Path) -> None:
    url = f"embedded://{folder}"
    with owner_of(url) as owner:
        with redis.Redis.from_url(owner.url) as client:
            client.set("kept", "yes")
        owner.process.kill()
        server = embedded_server.start(url)
    with redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"yes"
    server.stop()


def test_the_lock_lasts_as_long_as_the_server_even_without_its_guard(folder: Path) -> None:
    server = embedded_server.start(f"embedded://{folder}")
    guard = psutil.Process(server.pid).parent()
    assert guard is not None
    psutil.Process(server.pid).suspend()
    guard.suspend()
    with (folder / "docket.lock").open("r+") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    guard.resume()
    psutil.Process(server.pid).resume()
    server.stop()
    with (folder / "docket.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_interrupted_start_leaves_nothing(temporary: Path) -> None:
    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.03)
        with pytest.raises(KeyboardInterrupt):
            embedded_server.start("memory://")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    await_no_process_of(temporary)
    assert list(temporary.iterdir()) == []
