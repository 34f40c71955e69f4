"""Runs of a program on a terminal."""

import asyncio
import os
import pty
import sys

from tests.support.programs import PATIENCE_SECONDS, ROOT, environment


async def run_docket_on_terminal(*arguments: str) -> tuple[int, str]:
    """Run `python -m docket` with a terminal for its stdout: exit code, and all it wrote there."""
    master, slave = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "docket",
            *arguments,
            cwd=ROOT,
            env=environment({"TERM": "xterm-256color"}),
            stdout=slave,
            stdin=asyncio.subprocess.DEVNULL,
        )
        os.close(slave)
        async with asyncio.timeout(PATIENCE_SECONDS):
            # Read meanwhile: a terminal that nobody reads from stops its program.
            written = await asyncio.to_thread(_read_all, master)
            return await process.wait(), written
    finally:
        os.close(master)


def _read_all(master: int) -> str:
    written = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:
            break  # The last program that had the terminal has ended.
        if not chunk:
            break
        written += chunk
    return written.decode()
