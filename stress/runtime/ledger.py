"""What the tasks themselves wrote down: who began which task when, and who brought it to its end.

The tasks of a load append lines to one file, so what they tell needs no server, no result and no
poll; all clocks of a machine's processes are the same monotonic one. The ledger is pure: it is fed
the text.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

BEGUN = "+"
ENDED = "-"


@dataclass(frozen=True, slots=True)
class Start:
    """A run that began, in seconds of the monotonic clock."""

    key: str
    pid: int
    at: float


def line(kind: str, key: str, pid: int, at: float) -> str:
    """What a task writes when it begins and when it ends."""
    return f"{kind} {pid} {at!r} {key}\n"


class Ledger:
    """All that was written so far."""

    def __init__(self) -> None:
        self._torn = ""
        #: Every start, by task, oldest first.
        self.starts: dict[str, list[Start]] = {}
        self._ended: set[str] = set()
        #: By process: what began in it and has not ended there.
        self._in_progress: dict[int, set[str]] = {}

    def feed(self, text: str) -> None:
        """Take in what was appended; the last line may be torn."""
        *whole, self._torn = (self._torn + text).split("\n")
        for each in whole:
            kind, pid, at, key = each.split(" ", 3)
            in_progress = self._in_progress.setdefault(int(pid), set())
            if kind == BEGUN:
                self.starts.setdefault(key, []).append(Start(key, int(pid), float(at)))
                in_progress.add(key)
            else:
                self._ended.add(key)
                in_progress.discard(key)

    @property
    def begun(self) -> int:
        """How many tasks have begun."""
        return len(self.starts)

    def unfinished(self, keys: Iterable[str]) -> set[str]:
        """Those that nobody brought to an end."""
        return {key for key in keys if key not in self._ended}

    def cut_short(self) -> int:
        """How many runs began and have not ended in the process in which they began."""
        return sum(map(len, self._in_progress.values()))

    def interrupted(self, pid: int) -> set[str]:
        """The tasks that this process, which is dead, was in the middle of."""
        return set(self._in_progress.get(pid, ()))

    def first_start_again(self, pid: int) -> float | None:
        """When the first of the tasks that `pid` was in the middle of began in another process."""
        again = (
            start.at
            for key in self.interrupted(pid)
            for start in self.starts[key]
            if start.pid != pid
        )
        return min(again, default=None)


class LedgerFile:
    """Feeds a ledger with what is appended to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ledger = Ledger()
        path.touch()
        self._file = path.open("r", encoding="utf-8")

    def read(self) -> Ledger:
        """The ledger as of now."""
        self.ledger.feed(self._file.read())
        return self.ledger

    def close(self) -> None:
        self._file.close()
