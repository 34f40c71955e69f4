"""The working directory of a program: its modules are found, and shadow nothing of ours."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import environment

pytestmark = pytest.mark.usefixtures("unmeasured")

#: As the console script starts: the working directory is not on the path of the interpreter.
PROGRAM = (sys.executable, "-P", "-c", "from docket.cli import main; main()")

TASKS = "async def greet() -> None: ...\n\ntasks = [greet]\n"


@pytest.mark.parametrize("name", ["ctypes", "secrets", "mimetypes", "cloudpickle", "zoneinfo"])
def test_a_file_beside_the_tasks_does_not_shadow_what_is_imported_later(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "user_tasks.py").write_text(TASKS)
    (tmp_path / f"{name}.py").write_text("raise ImportError('this file is somebody else')\n")
    worker = ["worker", "--url", "memory://", "--tasks", "user_tasks:tasks", "--until-finished"]

    done = subprocess.run(
        [*PROGRAM, *worker, "--metrics-port", "0", "--healthcheck-port", "0"],
        cwd=tmp_path,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
