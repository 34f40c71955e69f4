"""The pool as the dashboard knows it: over the control socket of a real supervisor."""

import asyncio
from pathlib import Path

import pytest

from docket.pool_control import PoolFailure
from supervisor.config import SupervisorConfig
from supervisor.dashboard.socket_pool import SocketPool
from supervisor.supervisor import Supervisor

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


def _note(event: object, ready: asyncio.Event) -> None:
    if type(event).__name__ == "PoolReady":
        ready.set()
