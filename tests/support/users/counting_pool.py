"""A pool that is run from Python, and tells how many asyncio tasks its supervisor has."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from supervisor.config import Address, SupervisorConfig
from supervisor.observer import WorkerReady
from supervisor.supervisor import Supervisor


async def whoami(): ...


tasks = [whoami]


def count(event):
    if isinstance(event, WorkerReady):
        Path("asyncio-tasks").write_text(str(len(asyncio.all_tasks())))


if __name__ == "__main__":
    config = SupervisorConfig(
        processes=6,
        tasks=("counting_pool:tasks",),
        docket="d",
        url="memory://",
        http=Address("127.0.0.1", 0),
        backoff_max=timedelta(0),
        max_restarts=1_000_000,
        restart_window=timedelta(hours=1),  # it never ends because of deaths that go on
        logging_format="plain",
        preload=sys.argv[1] == "preload",
    )
    sys.exit(Supervisor(config, on_event=count).run())
