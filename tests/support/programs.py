"""Runs the program `docket`: a command in this process, or `python -m docket` as its users do."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
from anyio.abc import ByteReceiveStream
from anyio.streams.text import TextReceiveStream
from click.testing import CliRunner, Result

from docket.cli import main
from tests.support.warm_docket import Forked, ForkedStream, fork_docket

ROOT = Path(__file__).parent.parent.parent
#: Long enough for a busy machine, short enough for a test that fails.
PATIENCE_SECONDS = 40.0


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Of a program: ours without what speaks to docket, and `extra`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("DOCKET_")}
    return {**inherited, "PYTHONPATH": str(ROOT), "COLUMNS": "300", **extra}


async def run_docket(*arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run a command to its end, in a thread and on a loop of its own: exit code, stdout, stderr.

    Most tests of commands are about what they do and say, and a process costs a hundred times what
    the command itself does.
    """
    done = await asyncio.to_thread(_invoke, arguments, env or {})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def _invoke(arguments: tuple[str, ...], env: Mapping[str, str]) -> Result:
    ours = dict.fromkeys(name for name in os.environ if name.startswith("DOCKET_"))
    runner = CliRunner(env={**ours, "COLUMNS": "300", **env})
    with _restored():
        return runner.invoke(main, arguments, prog_name="docket")


@contextmanager
def _restored() -> Iterator[None]:
    """Take back what a program may do to its process, and a test must not do to the next one."""
    root = logging.getLogger()
    level, handlers, path = root.level, root.handlers[:], sys.path[:]
    # Without them: a program closes the handlers that it replaces, and pytest's are among them.
    root.handlers[:] = []
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        sys.path[:] = path


async def run_docket_process(
    *arguments: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Run `python -m docket` to its end: exit code, stdout, stderr."""
    async with docket_program(*arguments, cwd=cwd, env=env) as program:
        code = await program.ended()
    return code, program.output, program.errors


class Program:
    """A docket program that runs."""

    def __init__(
        self, process: Forked, stdout: ByteReceiveStream, stderr: ByteReceiveStream
    ) -> None:
        self._process = process
        self._stdout = TextReceiveStream(stdout)
        self._stderr = TextReceiveStream(stderr)
        self.output = self.errors = ""

    async def said(self, expected: str) -> None:
        """Wait until it says this (once more) on stdout, where a worker logs too."""
        heard = ""
        while expected not in heard:
            chunk = await self._stdout.receive()
            heard += chunk
            self.output += chunk

    #: The same for what it logs.
    logged = said

    async def warned(self, expected: str) -> None:
        """Wait until it has said this on stderr."""
        while expected not in self.errors:
            self.errors += await self._stderr.receive()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; its exit code."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._read_errors)
            async for chunk in self._stdout:
                self.output += chunk
        return await self._process.wait()

    async def _read_errors(self) -> None:
        async for chunk in self._stderr:
            self.errors += chunk


@asynccontextmanager
async def docket_program(
    *arguments: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> AsyncIterator[Program]:
    """The program while it runs; killed at the end if it still does."""
    (out, stdout), (err, stderr) = os.pipe(), os.pipe()
    process = fork_docket(
        *arguments, cwd=cwd, env=environment(env or {}), stdout=stdout, stderr=stderr
    )
    os.close(stdout)
    os.close(stderr)
    async with ForkedStream(out) as output, ForkedStream(err) as errors:
        try:
            with anyio.fail_after(PATIENCE_SECONDS):
                yield Program(process, output, errors)
        finally:
            process.send_signal(signal.SIGKILL)
            with anyio.CancelScope(shield=True):
                await process.wait()
