"""Rewrites the assertions of all tests before any runs, in a process for each of two CPUs.

In a fresh clone each worker of pytest-xdist would do it by itself, for the same files at the same
time, and under coverage: it took a tenth of all that `tox` takes.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PROCESSES = 2


def main(patterns: Sequence[str]) -> None:
    """Collect the tests in the files of some patterns; what cannot be collected tells so later.

    What is no pattern of files, such as an option of pytest, is passed over.
    """
    relative = [pattern for pattern in patterns if not Path(pattern).is_absolute()]
    found = {path for pattern in relative for path in Path().glob(pattern) if path.is_file()}
    files = sorted(found, key=lambda path: (path.stat().st_size, path))
    # Of each two files of about one size, one goes to each process.
    parts = [part for first in range(PROCESSES) if (part := files[first::PROCESSES])]
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider"]
    running = [subprocess.Popen([*collect, *part], stdout=subprocess.DEVNULL) for part in parts]
    for each in running:
        each.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
