"""The runs of a load, by task and by process, from its history (pure)."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from stress.history import Event, Line


@dataclass(frozen=True, slots=True)
class RunStart:
    """The start of a run, in seconds of the monotonic clock."""

    pid: int
    at: float


class RunLog:
    """Everything that was noted so far."""

    def __init__(self) -> None:
        self._starts: defaultdict[str, list[RunStart]] = defaultdict(list)
        self._ended: set[str] = set()
        #: By process: the keys that began in it and have not finished there.
        self._in_progress: defaultdict[int, set[str]] = defaultdict(set)

    def add(self, lines: Iterable[Line]) -> None:
        """Take in new lines; those of one process come in their order."""
        for line in lines:
            if line.event is Event.STARTED:
                self._starts[line.key].append(RunStart(line.pid, line.at))
                self._in_progress[line.pid].add(line.key)
            elif line.event is Event.FINISHED:
                self._in_progress[line.pid].discard(line.key)
                self._ended.add(line.key)

    @property
    def begun(self) -> int:
        """The number of tasks that have begun."""
        return len(self._starts)

    def unfinished(self, keys: Iterable[str]) -> set[str]:
        """Select the keys of which no run has finished."""
        return {key for key in keys if key not in self._ended}

    def cut_short(self) -> int:
        """Count the runs that have not finished in the process in which they began."""
        return sum(map(len, self._in_progress.values()))

    def interrupted(self, pid: int) -> set[str]:
        """The tasks that a dead process was in the middle of."""
        return set(self._in_progress.get(pid, ()))

    def first_start_again(self, pid: int) -> float | None:
        """Find when the first task that `pid` was in the middle of began in another process."""
        again = (
            start.at
            for key in self.interrupted(pid)
            for start in self._starts[key]
            if start.pid != pid
        )
        return min(again, default=None)
