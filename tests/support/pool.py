"""Pools started as a user starts them: the program, in a folder, asked by its probe."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from stress.ports import free_port

#: The program of this environment, without its console script.
PROGRAM = (sys.executable, "-m", "supervisor.cli")

READY_SECONDS = 30.0
STOP_SECONDS = 40.0


class PoolFailed(AssertionError):
    """The program ended or did not get ready; the message has what it printed."""


def plain_environment() -> dict[str, str]:
    """Ours without what would let the source tree shine through."""
    return {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME"}}


@contextlib.contextmanager
def running(
    command: Sequence[str], folder: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A program that runs in `folder` during the block, and is killed if it still does after it."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@contextlib.contextmanager
def ready_pool(
    command: Sequence[str], folder: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A pool that is ready; after the block it is told to drain and must end with 0."""
    port = free_port()
    asked = [*command, "--http", f"127.0.0.1:{port}"]
    with running(asked, folder, environment) as pool:
        wait_until_ready(pool, f"http://127.0.0.1:{port}/readyz")
        yield pool
        pool.send_signal(signal.SIGTERM)
        printed, _ = pool.communicate(timeout=STOP_SECONDS)
        if pool.returncode != 0:
            raise PoolFailed(f"exit {pool.returncode} after TERM: {printed}")


def wait_until_ready(pool: subprocess.Popen[str], url: str) -> None:
    """Asks the pool as a probe does: what it logs is for people and may change."""
    deadline = time.monotonic() + READY_SECONDS
    answer = "nothing"
    while time.monotonic() < deadline:
        if pool.poll() is not None:
            assert pool.stdout is not None
            raise PoolFailed(f"exit {pool.returncode}: {pool.stdout.read()}")
        try:
            with urllib.request.urlopen(url, timeout=1) as ready:
                assert ready.status == 200
                return
        except urllib.error.HTTPError as error:
            with error:
                answer = error.read().decode()
        except OSError as error:
            answer = str(error)
        time.sleep(0.05)
    raise PoolFailed(f"no worker was ready within {READY_SECONDS:g} s; the last answer: {answer}")
