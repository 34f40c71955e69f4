"""The server under test: a Valkey of its own that writes to disk before it answers."""

import asyncio
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from docket.store.embedded.home import server_binary
from stress.ports import free_port
from stress.program import start
from stress.waiting import UNANSWERED, eventually

STARTED_SECONDS = 60.0
_LOOK_SECONDS = 0.02


class Server:
    """One server, over all of its processes. Only the proxies connect to its port.

    Arguments:
        folder: for its data; the same over restarts.
        settings: of its configuration, instead of our defaults.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        #: Held by the fault that the server has; there is one at a time.
        self.busy = asyncio.Lock()
        #: A folder of this name is in the way of a snapshot that should fail.
        (folder / "in-the-way").mkdir(parents=True)

    @property
    def url(self) -> str:
        """The URL of the server itself, past every proxy."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        """Make a client that the caller closes."""
        return Redis.from_url(self.url, socket_timeout=10)

    async def start(self, *extra: str) -> None:
        """Start a process on the existing data, and wait until it answers."""
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "always",
            # Never due; but without one a failed snapshot stops no writes.
            "save": "86400 1000000000",
            "enable-protected-configs": "yes",
            "daemonize": "no",
            "logfile": str(self._folder / "server.log"),
            **self._settings,
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self._process = start([str(server_binary("memory://")), *words, *extra])
        await self.answers()

    async def answers(self) -> None:
        """Wait until it answers, and has loaded its data."""

        async def is_there() -> bool:
            async with self.client() as client:
                return await client.ping()

        await eventually(is_there, STARTED_SECONDS, every=_LOOK_SECONDS, despite=UNANSWERED)

    def send(self, number: int) -> None:
        """Send its process a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    async def end(self, number: int = signal.SIGTERM) -> None:
        """End its process with a signal, and wait for the end. Twice is fine."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            await asyncio.to_thread(process.wait)

    async def configure(self, **settings: Any) -> None:
        """Change its configuration, with underscores for the dashes."""
        async with self.client() as client:
            for name, value in settings.items():
                await client.config_set(name.replace("_", "-"), value)

    async def command(self, *words: str | int) -> Any:
        """Send any command, on a connection of its own."""
        async with self.client() as client:
            return await client.execute_command(*words)

    async def written_bytes(self) -> int:
        """Ask for the size of the file that it loads at its next start."""
        async with self.client() as client:
            return int((await client.info("persistence"))["aof_current_size"])

    async def fail_snapshot(self) -> None:
        """Make it refuse writes with MISCONF: a snapshot cannot replace a folder."""
        await self.configure(dbfilename="in-the-way")
        await self._snapshot()

    async def mend_snapshot(self) -> None:
        """End that with a snapshot that works."""
        await self.configure(dbfilename="dump.rdb")
        await self._snapshot()

    async def _snapshot(self) -> None:
        async with self.client() as client:
            before = (await client.info("persistence"))["rdb_saves"]
            failed = (await client.info("persistence"))["rdb_last_bgsave_status"] != "ok"
            await client.execute_command("BGSAVE")

            async def is_over() -> bool:
                told = await client.info("persistence")
                now_failed = told["rdb_last_bgsave_status"] != "ok"
                has_changed = told["rdb_saves"] > before or now_failed != failed
                return not told["rdb_bgsave_in_progress"] and has_changed

            await eventually(is_over, STARTED_SECONDS, every=_LOOK_SECONDS)
