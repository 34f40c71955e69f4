"""The pool as the dashboard knows it: over the control socket of a real supervisor."""

import asyncio
import signal
import sys
import urllib.request
from pathlib import Path

import pytest

from docket.pool_control import PoolFailure
from supervisor.config import SupervisorConfig
from supervisor.dashboard.socket_pool import SocketPool
from supervisor.supervisor import Supervisor
from tests.support.programs import ROOT, environment

pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytestmark = pytest.mark.anyio


async def test_a_pool_is_looked_at_scaled_restarted_reloaded_and_dumped(
    server: str, docket_name: str, tmp_path: Path
) -> None:
    control = tmp_path / "control.sock"
    config = SupervisorConfig(
        processes=1,
        docket=docket_name,
        url=server,
        tasks=("docket.tasks:standard_tasks",),
        control=str(control),
    )
    ready = asyncio.Event()
    pool = Supervisor(config, on_event=lambda event: _note(event, ready))
    serving = asyncio.create_task(pool.serve())
    try:
        async with asyncio.timeout(40):
            await ready.wait()
            known = SocketPool(control, docket_name)
            report = await known.status()
            assert report["supervisor"]["docket"] == docket_name
            assert len(report["workers"]) == 1
            assert "2" in await known.scale("2")
            assert "1" in await known.restart(1)
            assert await known.dump()
            assert "Restart slot 1" in await _page_of_the_program(control, docket_name, server)
            assert await known.reload()
            with pytest.raises(PoolFailure, match="no slot"):
                await known.restart(0)
            with pytest.raises(PoolFailure, match="size of a pool"):
                await known.scale("many")
            with pytest.raises(PoolFailure, match="size of a pool"):
                await known.scale("3:2")
    finally:
        pool.stop()
        await asyncio.wait_for(serving, 40)
    with pytest.raises(PoolFailure, match="no supervisor is running"):
        await known.status()


async def _page_of_the_program(control: Path, docket: str, url: str) -> str:
    """The page of workers that `docket-supervisor web` shows; the program ends with 0."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "supervisor.cli", "web", "--control", str(control)),
        *("--bind", "127.0.0.1:0", "--url", url),
        env=environment({}),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        address = (await process.stdout.readline()).decode().split()[-1]
        page = await asyncio.to_thread(_read, f"{address}d/{docket}/workers")
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return page


def _read(address: str) -> str:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read().decode()


async def test_without_a_supervisor_the_program_ends_with_2(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "supervisor.cli", "web", "--control", str(tmp_path / "none")),
        env=environment({}),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()

    assert process.returncode == 2
    assert b"no supervisor is running at" in errors


def _note(event: object, ready: asyncio.Event) -> None:
    if type(event).__name__ == "PoolReady":
        ready.set()
