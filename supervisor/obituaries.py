"""Log lines about deaths, with how they died if that can be told in time.

A death is acted upon when the pidfd says so; how it came about is known by the nursery that reaps
the process, some milliseconds later. Only the line waits for that, at most until the next tick.
"""

from dataclasses import dataclass

from supervisor.children import Incarnation
from supervisor.deaths import Death, tell_status
from supervisor.ground import describe, log


@dataclass(frozen=True, slots=True)
class _Pending:
    who: str
    following: str


class Obituaries:
    """Deaths that are told of once, with their status or without."""

    def __init__(self) -> None:
        self._pending: dict[int, _Pending] = {}
        self._waited_a_tick: set[int] = set()

    def died(self, worker: Incarnation, death: Death, following: str, *, final: bool) -> None:
        """Tell of a death now if there is nothing to wait for (`final`), else soon."""
        who = describe(worker)
        if death.expected:
            log.info("%s ended: %s", who, death.reason)
        elif final or worker.pid is None:
            _tell(who, death.reason, following)
        else:
            self._pending[worker.pid] = _Pending(who, following)

    def reaped(self, pid: int, reason: str) -> None:
        """The nursery knows how that one died."""
        pending = self._pending.pop(pid, None)
        if pending is not None:
            _tell(pending.who, reason, pending.following)

    def tick(self) -> None:
        """Whoever was still waited for at the last tick is not reaped yet: its group lingers."""
        for pid in self._waited_a_tick & self._pending.keys():
            pending = self._pending.pop(pid)
            _tell(pending.who, tell_status(None), pending.following)
        self._waited_a_tick = set(self._pending)


def _tell(who: str, reason: str, following: str) -> None:
    log.warning("%s died: %s; %s", who, reason, following)
