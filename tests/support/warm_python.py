"""A Python that has imported docket, and forks to run each script that it is given.

To import docket costs most of what a short script costs, and it is the same for all of them.
"""

import importlib
import json
import os
import runpy
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Seconds until a script that does not end fails its test.
PATIENCE_SECONDS = 50.0


class WarmPython:
    """Runs scripts, one at a time. Made by `warm_python`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, script: str, folder: Path) -> tuple[int, str, str]:
        """Run `python SCRIPT` in `folder`: its exit code, stdout and stderr."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        output, errors = folder / f"{script}.out", folder / f"{script}.err"
        request = {"script": script, "folder": str(folder), "streams": [str(output), str(errors)]}
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        assert select.select([stdout], [], [], PATIENCE_SECONDS)[0], f"{script} did not end"
        code = int(stdout.readline())
        return code, output.read_text("utf-8"), errors.read_text("utf-8")


@contextmanager
def warm_python(*options: str, environment: Mapping[str, str]) -> Iterator[WarmPython]:
    """Start one with these options of the interpreter; without coverage, which slows it down."""
    kept = {k: v for k, v in environment.items() if not k.startswith("COVERAGE_PROCESS_")}
    with subprocess.Popen(
        [sys.executable, *options, "-m", __name__],
        cwd=ROOT,
        env=kept,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield WarmPython(process)
        finally:
            # With the group goes a script that hangs.
            os.killpg(process.pid, 9)


def _serve() -> None:
    """Fork for each request. A script's process leaves by the interpreter's own end."""
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(**request)
            return
        status = os.waitpid(pid, 0)[1]
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become(script: str, folder: str, streams: list[str]) -> None:
    for number, path in enumerate([os.devnull, *streams]):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(folder)
    sys.argv = [script]
    sys.path[0] = folder
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    # Not above: the tests' own process imports this module, and forks nothing of it.
    importlib.import_module("docket.cli")
    importlib.import_module("docket.testing")
    _serve()
