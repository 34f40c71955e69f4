"""An app as docs/deploy/Dockerfile takes it, and the steps of that file without an engine."""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.deploy import FOLDER, Instruction, dockerfile
from tests.support.wheels import run

#: Commands of container engines, each of which takes the others' place.
ENGINES = ("docker", "podman")
JOBS = """
async def greet(name: str) -> str:
    return f"Hello, {name}!"

tasks = [greet]
"""
PROJECT = """
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "app"
version = "1.0.0"
"""
#: Instructions that only an engine can carry out, or that say something to whoever runs the image.
_LEFT_TO_ENGINES = frozenset({"EXPOSE", "STOPSIGNAL", "USER", "WORKDIR"})


def engine() -> str | None:
    """The command of a container engine that answers, if there is one."""
    for command in ENGINES:
        if shutil.which(command) is not None:
            asked = subprocess.run([command, "info"], capture_output=True, check=False, timeout=60)
            if asked.returncode == 0:
                return command
    return None


@contextmanager
def index_of(wheel: Path) -> Generator[str]:
    """A web server on this machine from which pip takes the wheel; the line that names it."""

    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(wheel.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"--find-links http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def write_app(folder: Path, links: str, wheel: Path) -> None:
    """Write the files that the Dockerfile says it needs, and the Dockerfile beside them."""
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "__init__.py").touch()
    (folder / "app" / "jobs.py").write_text(JOBS)
    (folder / "pyproject.toml").write_text(PROJECT)
    version = wheel.name.split("-")[1]
    (folder / "requirements.txt").write_text(f"{links}\ndocket-supervisor=={version}\n")
    shutil.copy(FOLDER / "Dockerfile", folder / "Dockerfile")


@dataclass(frozen=True)
class Built:
    """What the steps made: the command that the image starts, and its environment."""

    command: list[str]
    environment: dict[str, str]


class Steps:
    """The steps of a Dockerfile, carried out in a folder that stands for the image's root.

    Arguments:
        context: the folder that is built, with the Dockerfile in it.
        root: an empty folder.
    """

    def __init__(self, context: Path, root: Path) -> None:
        self._context = context
        self._root = root
        self._environment: dict[str, str] = {}
        self._started: dict[str, list[str]] = {}

    def carry_out(self) -> Built:
        """Carry out every step, in order."""
        for stage in dockerfile((self._context / "Dockerfile").read_text("utf-8"))[1:]:
            # A stage begins with the environment of its base.
            self._environment = {"PATH": f"{self._base()}:{os.environ['PATH']}"}
            for instruction in stage[1:]:
                self._step(instruction)
        entry, words = self._started["ENTRYPOINT"], self._started["CMD"]
        return Built([*entry, *words], self._environment)

    def _base(self) -> Path:
        """The folder with the Python that stands for that of the base image."""
        folder = self._root / "base"
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "python").symlink_to(Path(sys.executable).resolve())
        return folder

    def _step(self, instruction: Instruction) -> None:
        given = instruction.given
        match instruction.name:
            case "RUN" if given.startswith("useradd "):
                pass  # A user of the image's, not of this machine.
            case "RUN":
                run("sh", "-c", self._inside(given), environment=self._environment)
            case "COPY" if given.startswith("--from=build "):
                _, source, target = given.split()
                assert source == target, "a virtual environment cannot be moved"
            case "COPY":
                self._copy(*given.split())
            case "ENV":
                self._set(given)
            case "ENTRYPOINT" | "CMD":
                self._started[instruction.name] = instruction.words
            case name:
                assert name in _LEFT_TO_ENGINES, name

    def _inside(self, text: str) -> str:
        """The text with the absolute paths of the image below the root."""
        return text.replace("/opt/", f"{self._root}/opt/").replace("/build", f"{self._root}/build")

    def _copy(self, source: str, target: str) -> None:
        into = Path(self._inside(target))
        if (self._context / source).is_dir():
            shutil.copytree(self._context / source, into, dirs_exist_ok=True)
        else:
            assert target.endswith("/"), "a folder, which COPY makes"
            into.mkdir(parents=True, exist_ok=True)
            shutil.copy(self._context / source, into)

    def _set(self, given: str) -> None:
        for pair in given.split():
            name, _, value = self._inside(pair).partition("=")
            self._environment[name] = value.replace("$PATH", self._environment["PATH"])


def with_port(command: list[str], port: int) -> list[str]:
    """The command with another port than the image's, which another process may have here."""
    return [word.replace(":9090", f":{port}") for word in command]
