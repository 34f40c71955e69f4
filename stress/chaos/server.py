"""The server under test: a Valkey of its own, every write on disk before it is answered."""

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from docket.store.embedded.home import server_binary
from stress.ports import free_port

STARTED_SECONDS = 60.0
_LOOK_SECONDS = 0.02


class Server:
    """One server, over all of its processes. Nobody else connects to its port but the proxies.

    Arguments:
        folder: for its data; the same over restarts.
        settings: of its configuration, instead of ours.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        #: A folder of this name stands where the snapshot would be written.
        (folder / "in-the-way").mkdir(parents=True)

    @property
    def url(self) -> str:
        """Straight to it, past every proxy."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        """A connection for the one who breaks it; closed by the caller."""
        return Redis.from_url(self.url, socket_timeout=10)

    async def start(self, *extra: str) -> None:
        """Start a process on the data that there is, and wait until it answers."""
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "always",
            # Never due; but without one a snapshot that failed stops no writes.
            "save": "86400 1000000000",
            "enable-protected-configs": "yes",
            "daemonize": "no",
            "logfile": str(self._folder / "server.log"),
            **self._settings,
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self._process = execute([str(server_binary("memory://")), *words, *extra])
        await self.answers()

    async def answers(self) -> None:
        """Return once it answers, LOADING included."""
        async with asyncio.timeout(STARTED_SECONDS):
            while True:
                with contextlib.suppress(RedisError, OSError):
                    async with self.client() as client:
                        await client.ping()
                        return
                await asyncio.sleep(_LOOK_SECONDS)

    def send(self, number: int) -> None:
        """Send its process a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    async def end(self, number: int = signal.SIGTERM) -> None:
        """End its process and wait for that. Twice is fine."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            await asyncio.to_thread(process.wait)

    async def configure(self, **settings: Any) -> None:
        """CONFIG SET, with underscores for the dashes."""
        async with self.client() as client:
            for name, value in settings.items():
                await client.config_set(name.replace("_", "-"), value)

    async def command(self, *words: str | int) -> Any:
        """Any command, on a connection of its own."""
        async with self.client() as client:
            return await client.execute_command(*words)

    async def written_bytes(self) -> int:
        """The size of the file that it loads at its next start."""
        async with self.client() as client:
            return int((await client.info("persistence"))["aof_current_size"])

    async def fail_snapshot(self) -> None:
        """From now on writes are refused with MISCONF: a snapshot cannot replace a folder."""
        await self.configure(dbfilename="in-the-way")
        await self._snapshot()

    async def mend_snapshot(self) -> None:
        """A snapshot that works ends that."""
        await self.configure(dbfilename="dump.rdb")
        await self._snapshot()

    async def _snapshot(self) -> None:
        async with self.client() as client:
            before = (await client.info("persistence"))["rdb_saves"]
            failed = (await client.info("persistence"))["rdb_last_bgsave_status"] != "ok"
            await client.execute_command("BGSAVE")
            async with asyncio.timeout(STARTED_SECONDS):
                while True:
                    told = await client.info("persistence")
                    is_over = not told["rdb_bgsave_in_progress"]
                    now_failed = told["rdb_last_bgsave_status"] != "ok"
                    if is_over and (told["rdb_saves"] > before or now_failed != failed):
                        return
                    await asyncio.sleep(_LOOK_SECONDS)


def execute(words: list[str]) -> subprocess.Popen[bytes]:
    """Start a program that nobody hears and no signal of our terminal reaches."""
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
