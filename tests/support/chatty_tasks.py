"""Tasks that write: through logging, by print, and past both."""
# ruff: noqa: T201 - to print is what they are for

import asyncio
import fcntl
import logging
import os
import sys
from pathlib import Path

log = logging.getLogger("chatty")


async def chat(gate: str, name: str, lines: int, length: int) -> int:
    """Once nobody holds the gate (a file) any more, log so many lines; the pid that did."""
    await asyncio.to_thread(_pass, gate)
    letter = chr(ord("a") + int(name) % 26)
    for number in range(lines):
        log.info("chat %s %d %s", name, number, letter * length)
        await asyncio.sleep(0)
    return os.getpid()


def _pass(gate: str) -> None:
    with Path(gate).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)


async def print_lines(lines: int) -> int:
    """Print so many to stdout and to stderr; the pid that did."""
    for number in range(lines):
        print(f"printed {number}")
        print(f"printed to stderr {number}", file=sys.stderr)
    return os.getpid()


async def fail() -> None:
    """Fail in a way that takes several lines to tell."""
    raise ValueError("of several\nlines")


async def say_from_below() -> None:
    """Log in an asyncio task and in a thread that this one starts."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_say("from a task below"))
        group.create_task(asyncio.to_thread(log.info, "from a thread below"))


async def _say(what: str) -> None:
    log.info(what)


tasks = [chat, print_lines, fail, say_from_below]
