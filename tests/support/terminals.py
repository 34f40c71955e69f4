"""Runs of a program on a terminal."""

import asyncio
import os
import pty
import re
import termios
from collections.abc import Callable, Mapping

from tests.support.programs import PATIENCE_SECONDS, ROOT, environment
from tests.support.warm_docket import fork_docket


async def run_docket_on_terminal(
    *arguments: str,
    text: str = "",
    shown: asyncio.Event | None = None,
    columns: int | None = None,
    env: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run `python -m docket` with a terminal for its stdout: exit code, and all it wrote there.

    Args:
        text: of the output, for `shown`.
        shown: set once the terminal has shown `text`.
        columns: width of the terminal; very wide unless given.
        env: added to the environment.
    """
    master, slave = pty.openpty()
    variables = environment({"TERM": "xterm-256color", **(env or {})})
    if columns is not None:
        del variables["COLUMNS"]
        termios.tcsetwinsize(slave, (60, columns))
    try:
        process = fork_docket(*arguments, cwd=ROOT, env=variables, stdout=slave)
        os.close(slave)
        async with asyncio.timeout(PATIENCE_SECONDS):
            # Read meanwhile: a terminal that nobody reads from stops its program.
            on_text = _setter_of(shown)
            written = await asyncio.to_thread(_read_all, master, text.encode(), on_text)
            return await process.wait(), written
    finally:
        os.close(master)


def lines_without_colors(written: str) -> list[str]:
    """Return the lines of an output without the escape sequences of colours."""
    return [re.sub(r"\x1b\[[\d;]*m", "", line) for line in written.splitlines()]


def _setter_of(shown: asyncio.Event | None) -> Callable[[], object]:
    loop = asyncio.get_running_loop()
    return lambda: None if shown is None else loop.call_soon_threadsafe(shown.set)


def _read_all(master: int, text: bytes, on_text: Callable[[], object]) -> str:
    written = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:
            break  # The last program that had the terminal has ended.
        if not chunk:
            break
        written += chunk
        if text in written:
            on_text()
    return written.decode()
