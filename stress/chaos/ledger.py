"""What really happened, in files outside of the docket: one line an event, whole lines only.

    T RUN-KIND EVENT KEY NUMBER ATTEMPT PID

T is the monotonic clock in seconds, which all processes of a machine share. Whoever is killed
leaves whole lines or none: each is one write to a file opened for appending, one file a process.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

#: Where the files are, for processes that were started without arguments of ours.
FOLDER_VARIABLE = "CHAOS_LEDGER"


class Event(StrEnum):
    """What a line tells."""

    #: Of a producer: it is about to add; the add returned.
    WANTED = "wanted"
    ACCEPTED = "accepted"
    #: Of a producer: the add failed, perhaps after it was done; it is about to add once more.
    AGAIN = "again"
    #: Of a producer: it is about to cancel or replace.
    CANCELS = "cancels"
    #: Of a run.
    STARTED = "started"
    FINISHED = "finished"
    RAISED = "raised"
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
        """As it stands in the file."""
        return (
            f"{self.at:.6f} {self.kind} {self.event} {self.key}"
            f" {self.number} {self.attempt} {self.pid}\n"
        )


def parse(text: str) -> Line:
    """The line that `text` says."""
    at, kind, event, key, number, attempt, pid = text.split()
    return Line(float(at), kind, Event(event), key, int(number), int(attempt), int(pid))


class Ledger:
    """Writes the lines of this process; its forks open files of their own."""

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


def read(folder: Path, role: str) -> Iterator[Line]:
    """Every line of that role, one file after the other."""
    for path in sorted(folder.glob(f"{role}-*")):
        for text in path.read_text().splitlines():
            yield parse(text)


class Tail:
    """Reads what was appended to the files of a role since it looked last."""

    def __init__(self, folder: Path, role: str) -> None:
        self._folder, self._role = folder, role
        self._offsets: dict[Path, int] = {}

    def read(self) -> Iterator[Line]:
        """The new whole lines."""
        for path in sorted(self._folder.glob(f"{self._role}-*")):
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[path] = self._offsets.get(path, 0) + len(whole)
            yield from (parse(text) for text in whole.decode().splitlines())
