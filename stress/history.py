"""The history of a run, in files outside of the docket: one line an event, whole lines only.

    T TASK-KIND EVENT KEY NUMBER ATTEMPT PID

T is the monotonic clock in seconds, which all processes of a machine share. A killed process
leaves whole lines or none: each is one write to a file opened for appending, one file a process.
"""

import asyncio
import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

#: The variable that tells worker processes the folder of the files.
FOLDER_VARIABLE = "STRESS_HISTORY"


class Event(StrEnum):
    """The kind of a line."""

    #: A producer is about to add.
    WANTED = "wanted"
    #: Its add returned.
    ACCEPTED = "accepted"
    #: Its add failed, perhaps after it took effect; it is about to add once more.
    AGAIN = "again"
    #: A producer is about to cancel or replace.
    CANCELS = "cancels"
    #: A run began.
    STARTED = "started"
    #: A run returned.
    FINISHED = "finished"
    #: A run raised an error.
    RAISED = "raised"
    #: A run was cancelled.
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Line:
    """One event. `number` tells the links of a chain apart, 0 elsewhere; `attempt` from 1."""

    at: float
    kind: str
    event: Event
    key: str
    number: int
    attempt: int
    pid: int

    def text(self) -> str:
        """Format the line as it stands in the file."""
        return (
            f"{self.at:.6f} {self.kind} {self.event} {self.key}"
            f" {self.number} {self.attempt} {self.pid}\n"
        )


def parse(text: str) -> Line:
    """Parse a line of a file."""
    at, kind, event, key, number, attempt, pid = text.split()
    return Line(float(at), kind, Event(event), key, int(number), int(attempt), int(pid))


class HistoryWriter:
    """A writer of the lines of this process; its forks open files of their own.

    Arguments:
        folder: of the files.
        role: the first part of their names.
    """

    def __init__(self, folder: Path, role: str) -> None:
        self._folder, self._role = folder, role
        self._pid, self._file = -1, -1

    def note(self, kind: str, event: Event, key: str, number: int = 0, attempt: int = 1) -> None:
        """Write one line, now."""
        pid = os.getpid()
        if pid != self._pid:
            path = self._folder / f"{self._role}-{pid}-{time.monotonic_ns()}"
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
            self._pid = pid
        line = Line(time.monotonic(), kind, event, key, number, attempt, pid)
        os.write(self._file, line.text().encode())


_runs = HistoryWriter(Path(os.environ.get(FOLDER_VARIABLE, ".")), "runs")


@contextmanager
def noted(kind: str, key: str, number: int = 0, attempt: int = 1) -> Generator[None]:
    """Note a run of a task: its start, and its end unless the process dies before that."""
    _runs.note(kind, Event.STARTED, key, number, attempt)
    try:
        yield
    except asyncio.CancelledError:
        _runs.note(kind, Event.CANCELLED, key, number, attempt)
        raise
    except BaseException:
        _runs.note(kind, Event.RAISED, key, number, attempt)
        raise
    _runs.note(kind, Event.FINISHED, key, number, attempt)


class Tail:
    """A reader of the lines appended to the files of a role since its last look."""

    def __init__(self, folder: Path, role: str) -> None:
        self._folder, self._role = folder, role
        self._offsets: dict[Path, int] = {}

    def read(self) -> Iterator[Line]:
        """Read the new whole lines, one file after the other."""
        for path in sorted(self._folder.glob(f"{self._role}-*")):
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[path] = self._offsets.get(path, 0) + len(whole)
            yield from (parse(text) for text in whole.decode().splitlines())


def read(folder: Path, role: str) -> Iterator[Line]:
    """Read every line of a role."""
    return Tail(folder, role).read()
