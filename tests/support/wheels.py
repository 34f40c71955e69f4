"""Wheels of ours, built as a user's pip builds them, and environments to install them in."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support import pool


def built(project: Path, folder: Path, environment: Mapping[str, str] | None = None) -> Path:
    """The wheel of a project, built into a folder that is empty."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    run(*command, str(project), environment=environment)
    (wheel,) = folder.glob("*.whl")
    return wheel


class Environment:
    """A virtual environment of its own.

    Attributes:
        folder: where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run(sys.executable, "-m", "venv", str(folder))

    def install(self, *arguments: str) -> None:
        run(str(self.folder / "bin/python"), "-m", "pip", "install", "--quiet", *arguments)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.script("python", *arguments)

    def script(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What a command printed, in a folder without packages."""
        return ended(str(self.folder / "bin" / name), *arguments, folder=self.folder)


def run(
    *command: str, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """What a command prints that succeeds."""
    done = ended(*command, folder=folder, environment=environment)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def ended(
    *command: str, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**pool.plain_environment(), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
