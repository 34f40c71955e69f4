"""Several pools on one docket: each a host of its own, as far as the others can tell."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from docket import Docket
from tests.support.dockets import knowing
from tests.support.host_tasks import tasks
from tests.support.supervised import PATIENCE_SECONDS, Program, supervised

TASKS = "tests.support.host_tasks:tasks"
#: Docket's defaults, which the program leaves as they are: how long a silent host counts as alive.
SILENCE_SECONDS = 2.0 * 5
#: More than this from the end of the silence to the first start elsewhere breaks the promise.
ADOPTION_SECONDS = 1.0
PATIENCE = timedelta(seconds=PATIENCE_SECONDS)


@dataclass(frozen=True)
class Run:
    """One run of a task as it noted it itself; times of the machine's monotonic clock."""

    key: str
    run: str
    pid: int
    began: float
    #: finished, failed or cancelled; None for one that was killed, or goes on.
    how: str | None
    #: Of its last line.
    seen: float


class Ledger:
    """What the tasks of all pools wrote down."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def runs(self, key: str | None = None) -> list[Run]:
        """In the order of their starts."""
        if not self.path.exists():
            return []
        found: dict[str, Run] = {}
        for line in self.path.read_text("ascii").splitlines():
            name, run, pid, what, at = json.loads(line)
            before = found.get(run)
            began = at if before is None else before.began
            how = what if what not in {"began", "alive"} else None
            found[run] = Run(name, run, pid, began, how, at)
        return [run for run in found.values() if key in (None, run.key)]

    def began(self, *keys: str) -> bool:
        """Whether a run of each has begun."""
        return set(keys) <= {run.key for run in self.runs()}

    def overlaps(self, key: str) -> list[tuple[Run, Run]]:
        """Pairs of runs that were surely at work at one time."""
        runs = self.runs(key)
        return [(a, b) for a, b in pairwise(runs) if b.began < a.seen]


class Hosts:
    """The pools of one test.

    Attributes:
        url, docket: what they share.
        ledger: what their tasks wrote.
    """

    def __init__(self, url: str, docket: str, ledger: Path) -> None:
        self.url = url
        self.docket = docket
        self.ledger = Ledger(ledger)

    def pool(self, *options: str, processes: int = 2, url: str = "", **rest: Any) -> Program:
        """A pool, not started yet."""
        mine = ("--tasks", TASKS, "--docket", self.docket)
        rest.setdefault("environment", {"LEDGER": str(self.ledger.path)})
        return supervised(*mine, *options, processes=processes, url=url or self.url, **rest)

    @contextlib.contextmanager
    def ready(self, *options: str, **rest: Any) -> Iterator[Program]:
        """A pool that is ready."""
        with self.pool(*options, **rest) as program:
            program.wait_for("pool ready")
            yield program

    def open(self) -> Docket:
        """The docket, for a producer."""
        return knowing(Docket(self.docket, self.url), tasks)

    def wait_until_begun(self, program: Program, *keys: str) -> None:
        program.until(lambda: self.ledger.began(*keys), f"never began: {keys}")

    def wait_for_runs(self, program: Program, count: int, *keys: str) -> None:
        """Until each key has so many runs."""

        def are_there() -> bool:
            return all(len(self.ledger.runs(key)) >= count for key in keys)

        program.until(are_there, f"fewer than {count} runs of one of {keys}")


def tree_of(program: Program) -> list[psutil.Process]:
    """The supervisor and all it has started, in this order."""
    return [psutil.Process(program.process.pid), *program.family()]


def signal_all(processes: list[psutil.Process], number: int) -> float:
    """Send a signal to each, at once; when the last was sent."""
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            os.kill(each.pid, number)
    return time.monotonic()


def kill_tree(program: Program) -> float:
    """SIGKILL a whole tree; when it was done. Nobody of it lives to see another's death."""
    tree = tree_of(program)
    signal_all(tree, signal.SIGSTOP)
    return signal_all(tree, signal.SIGKILL)


def pids_of(program: Program) -> set[int]:
    """Of the workers that are ready."""
    return set(program.workers().values())
