"""The units of docs/deploy under a real systemd: what it does with what it is told."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from docket import Docket, ExecutionState
from tests.support.deploy import FOLDER
from tests.support.embedded import folder
from tests.support.service_tasks import wait_for
from tests.support.supervised import ROOT
from tests.support.systemd import NOTIFY_RELOAD, NoSystemd, UserManager, version

__all__ = ["folder"]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(170)]

UNIT = "pool.service"
TASKS = "import asyncio\nfrom tests.support.service_tasks import *\n"
OPTIONS = "--docket d --processes 2 --tasks jobs:tasks"
#: On top of the unit as it is shipped: where things are on this machine, and times to test with. In
#: a manager of a user's, without /dev/kmsg, two of the locks cannot be made; Python is in a home,
#: and this folder in /tmp.
HERE = """
[Unit]
DefaultDependencies=no
[Service]
User=
Group=
WorkingDirectory={folder}
EnvironmentFile=
EnvironmentFile={folder}/pool.env
Environment=PWD={folder} PYTHONPATH={root}:{folder} PYTHONDONTWRITEBYTECODE=1 TMPDIR={folder}
ExecStart=
ExecStart={program} {options} --control %t/docket-supervisor/control.sock
ExecReload=
{reload}
StandardError=append:{folder}/log
ProtectHome=no
PrivateTmp=no
ProtectKernelTunables=no
ProtectKernelLogs=no
ReadWritePaths={folder}
RestartSec=100ms
{times}
"""


@contextlib.contextmanager
def installed(
    folder: Path, arguments: str = "", times: str = ""
) -> Iterator[tuple[UserManager, Path]]:
    """The shipped unit that this systemd understands, and the module of its tasks."""
    by_signal = (version() or 0) >= NOTIFY_RELOAD
    shipped = "docket-supervisor.service" if by_signal else "docket-supervisor-notify.service"
    program = f"{sys.executable} -m supervisor.cli"
    reload = f"ExecReload={program} ctl --control %t/docket-supervisor/control.sock reload"
    module = folder / "jobs.py"
    module.write_text(TASKS)
    (folder / "pool.env").write_text("DOCKET_URL=memory://\n")
    try:
        with UserManager(folder) as manager:
            (manager.units / UNIT).write_text((FOLDER / shipped).read_text("utf-8"))
            more = manager.units / f"{UNIT}.d"
            more.mkdir()
            (more / "here.conf").write_text(
                HERE.format(
                    folder=folder,
                    root=ROOT,
                    program=program,
                    reload="" if by_signal else reload,
                    options=f"{OPTIONS} {arguments}",
                    times=times,
                )
            )
            assert manager.systemctl("daemon-reload").returncode == 0
            yield manager, module
    except NoSystemd as error:
        pytest.skip(str(error))


def start(manager: UserManager, folder: Path) -> None:
    started = manager.systemctl("start", UNIT)
    log = folder / "log"
    assert started.returncode == 0, started.stderr + (log.read_text() if log.exists() else "")
    assert manager.show(UNIT, "StatusText") == "2 of 2 workers ready"


def url_in(folder: Path) -> str:
    return (folder / "log").read_text().partition("producers connect to ")[2].split()[0]


def test_an_import_outlasts_the_start_timeout_and_a_reload_tells_how_it_went(folder: Path) -> None:
    with installed(folder, times="TimeoutStartSec=12s") as (manager, module):
        module.write_text(f"import time\ntime.sleep(16)\n{TASKS}")
        begun = time.monotonic()
        start(manager, folder)
        assert time.monotonic() - begun > 16

        module.write_text(TASKS)
        assert manager.systemctl("reload", UNIT).returncode == 0
        assert manager.show(UNIT, "StatusText") == "2 of 2 workers ready"

        module.write_text("import nothing_of_that_name")
        manager.systemctl("reload", UNIT)  # notify-reload knows no failure, ExecReload= does
        told = manager.show(UNIT, "StatusText")
        assert told.startswith("2 of 2 workers ready; the last reload failed: ")
        assert manager.show(UNIT, "SubState") == "running"
        assert manager.systemctl("stop", UNIT).returncode == 0
        assert manager.show(UNIT, "Result") == "success"


async def test_a_drain_outlasts_the_stop_timeout(folder: Path) -> None:
    with installed(folder, "--drain-timeout 60s", "TimeoutStopSec=4s") as (manager, _):
        start(manager, folder)
        async with Docket(name="d", url=url_in(folder)) as docket:
            execution = await docket.add(wait_for)(str(folder / "done"))
            async with contextlib.aclosing(execution.subscribe()) as events:
                async for event in events:
                    if event["type"] == "state" and event["state"] == ExecutionState.RUNNING:
                        break
            begun = time.monotonic()
            stopping = asyncio.create_task(asyncio.to_thread(manager.systemctl, "stop", UNIT))
            await asyncio.to_thread(
                manager.wait_for, UNIT, "StatusText", "draining: 1 task left in 1 worker"
            )
            timer = threading.Timer(10, (folder / "done").touch)
            timer.start()
            await execution.get_result()
            assert (await stopping).returncode == 0
            assert time.monotonic() - begun > 10
        assert manager.show(UNIT, "Result") == "success"


def test_workers_that_all_hang_are_ended_by_the_watchdog_and_the_pool_starts_anew(
    folder: Path,
) -> None:
    with installed(folder, times="WatchdogSec=6s") as (manager, _):
        start(manager, folder)
        supervisor = manager.show(UNIT, "MainPID")
        nursery = manager.named("supervisor.nursery.program")
        workers = [each for each in nursery if each.parent() in nursery]
        assert len(workers) == 2
        for worker in workers:
            os.kill(worker.pid, signal.SIGSTOP)
        manager.wait_for(UNIT, "NRestarts", "1")
        manager.wait_for(UNIT, "StatusText", "2 of 2 workers ready")
        assert manager.show(UNIT, "MainPID") != supervisor
        assert manager.systemctl("stop", UNIT).returncode == 0


def test_a_unit_without_its_environment_file_does_not_start(folder: Path) -> None:
    with installed(folder) as (manager, _):
        (folder / "pool.env").unlink()
        assert manager.systemctl("start", UNIT).returncode != 0
        assert manager.show(UNIT, "Result") == "resources"
        assert not (folder / "log").exists(), "the program was started without its settings"


def test_a_port_in_use_is_tried_again_until_it_is_free(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with installed(folder, f"--http 127.0.0.1:{port}") as (manager, _):
            assert manager.systemctl("start", UNIT).returncode != 0
            assert f"cannot listen on 127.0.0.1:{port}" in (folder / "log").read_text()
            taken.close()
            manager.wait_for(UNIT, "ActiveState", "active")
            assert int(manager.show(UNIT, "NRestarts")) > 0
            assert manager.systemctl("stop", UNIT).returncode == 0


def test_wrong_usage_is_not_tried_again(folder: Path) -> None:
    with installed(folder, "--concurrency 0") as (manager, _):
        assert manager.systemctl("start", UNIT).returncode != 0
        manager.wait_for(UNIT, "ActiveState", "failed")
        assert manager.show(UNIT, "ExecMainStatus") == "2"
        assert manager.show(UNIT, "NRestarts") == "0"
