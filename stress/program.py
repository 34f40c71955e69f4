"""Programs that a run starts: always those of this tree, installed or not."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent


def environment(**more: str) -> dict[str, str]:
    """The environment of a started process: it finds our packages wherever it starts."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def start(
    words: Sequence[str],
    log: IO[bytes] | None = None,
    *,
    folder: Path = ROOT,
    variables: Mapping[str, str] | None = None,
    pass_fds: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, which no signal of our terminal reaches.

    Arguments:
        log: takes its output; a file, because a full pipe would stop it. None discards it.
        folder: its working directory.
        variables: its environment, instead of `environment()`.
    """
    output = subprocess.DEVNULL if log is None else log
    return subprocess.Popen(
        words,
        cwd=folder,
        env=environment() if variables is None else variables,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        pass_fds=pass_fds,
    )
