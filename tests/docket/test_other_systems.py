"""What works on a system that is not POSIX: the library with a server elsewhere, and no program.

Windows is imitated: what it lacks is taken away before anything of ours is imported.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import machinery, valkey

pytestmark = pytest.mark.usefixtures("unmeasured")

ROOT = Path(__file__).parent.parent.parent

#: Imported before, since Python's own modules for this system are made of them.
WITHOUT_POSIX = """
import asyncio, functools, os, select, signal, socket, subprocess, sys, tempfile
for name in "fcntl grp pwd resource termios tty uvloop".split():
    sys.modules[name] = None
socket.socketpair = functools.partial(socket.socketpair, socket.AF_UNIX)  # Windows makes it of TCP
for name in "AF_UNIX CMSG_LEN SCM_RIGHTS".split():
    vars(socket).pop(name, None)
for name in "open_unix_connection open_unix_server start_unix_server".split():
    vars(asyncio).pop(name, None)
    vars(asyncio.streams).pop(name, None)
for name in "fork register_at_fork getuid geteuid setsid killpg pidfd_open waitid sysconf".split():
    vars(os).pop(name, None)
for name in "SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGCHLD SIGTTIN SIGKILL pthread_sigmask".split():
    vars(signal).pop(name, None)
for name in "poll epoll".split():
    vars(select).pop(name, None)
asyncio.BaseEventLoop.add_signal_handler = asyncio.AbstractEventLoop.add_signal_handler
"""

PRODUCER = """
import docket, docket.agenda, docket.cli.program, docket.cli.worker, docket.testing, docket.tasks
from docket import Docket, Worker
from docket.errors import EmbeddedServerError

async def square(number: int) -> int:
    return number * number

async def main() -> None:
    async with Docket("elsewhere", sys.argv[1]) as there:
        await there.strike("other")
        added = await there.add(square)(7)
        print((await there.get_execution(added.key)).state.name)
        async with Worker(there) as worker:
            await worker.run_until_finished()
        print(await added.get_result())
    try:
        async with Docket("here", "memory://"):
            pass
    except EmbeddedServerError as error:
        print(error)

asyncio.run(main())
"""

DASHBOARD = """
for name in "O_CLOEXEC O_NONBLOCK O_NOCTTY".split():
    vars(os).pop(name, None)
from docket import Docket
from docket.web import app
from docket.web.connection_bounds import MOST_CONNECTIONS, fitting_number
app(Docket("elsewhere", "redis://127.0.0.1:1"))
assert fitting_number() == MOST_CONNECTIONS
"""

SUPERVISOR = """
sys.argv[1:] = ["--url", "redis://127.0.0.1:1"]
from supervisor.cli.program import main
main()
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX + program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_library_adds_to_a_server_elsewhere() -> None:
    with machinery() as machines:
        server = machines.server(valkey())
        done = run(PRODUCER, f"redis://127.0.0.1:{server.port}")
    assert (done.returncode, done.stderr) == (0, "")
    state, result, refused = done.stdout.splitlines()
    assert (state, result) == ("QUEUED", "49")
    assert refused.startswith("cannot start memory://: it needs a POSIX system")


def test_the_dashboard_is_mounted_in_a_service() -> None:
    pytest.importorskip("starlette", reason="the extra web is not installed")
    done = run(DASHBOARD)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_program_says_in_one_line_that_it_needs_another_system() -> None:
    done = run(SUPERVISOR)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "docket-supervisor: needs a POSIX system (Linux, macOS): this Python has no fcntl, pwd, "
        "resource\n"
    )
