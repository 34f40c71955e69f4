"""Exits: seen by pidfd in a millisecond, reaped once, with those of unknown children.

A worker is the nursery's child, so usually the nursery reaps it. When its nursery has died the
worker becomes ours (we are a subreaper), and so does every process that a task left behind. A
child that is watched is reaped on its own path, after its process group has ended; all others
are found by waitid with WNOWAIT, so that no status is taken from a caller that wants it.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable

from msgspec import Struct

from supervisor import grace_periods
from supervisor.system import process_group

log = logging.getLogger("supervisor.reaper")

OnExit = Callable[[int | None], None]


class _Watched(Struct):
    pid: int
    pidfd: int | None
    on_exit: OnExit
    #: Its process group is its own, and to be ended with it.
    leads_group: bool


class Reaper:
    """Watch processes and reap children. Used on one loop.

    Arguments:
        reap_unknown: also reap children that are not watched. Right for a program of its own; as a
            guest in another program it would take that one's children from it.
    """

    def __init__(self, *, reap_unknown: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._reaps_unknown = reap_unknown
        self._watched: dict[int, _Watched] = {}
        #: Exited, reported, and not yet reaped by their parent; whether each leads a group.
        self._unreaped: dict[int, bool] = {}
        self._grace: dict[int, asyncio.TimerHandle] = {}

    def watch(self, pid: int, pidfd: int | None, on_exit: OnExit, *, leads_group: bool) -> None:
        """Call `on_exit` once, with the wait status if it is known, when `pid` has exited.

        The pidfd is ours from here on. Without one the exit is seen by `sweep` or `report`.
        """
        self._watched[pid] = _Watched(pid, pidfd, on_exit, leads_group)
        if pidfd is not None:
            self._loop.add_reader(pidfd, self._exited, pid)

    def signal(self, pid: int, number: int) -> bool:
        """Signal a watched process by its pidfd, which can hit no other.

        False if it is watched without one, so that another must do it. One that has ended needs
        no signal.
        """
        watched = self._watched.get(pid)
        if watched is not None and watched.pidfd is None:
            return False
        if watched is not None and watched.pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(watched.pidfd, number)
        return True

    def report(self, pid: int, status: int) -> None:
        """Take the status of `pid` from its parent, which has reaped it."""
        self._unreaped.pop(pid, None)
        if pid in self._watched:
            self._end_watch(pid, status)

    def sweep(self) -> None:
        """Look for dead children, as after SIGCHLD."""
        for pid in [pid for pid, each in self._watched.items() if each.pidfd is None]:
            if _peek(pid) is not None:
                self._exited(pid)
        for pid in list(self._unreaped):
            if pid not in self._grace and _peek(pid) is not None:
                self._end_group(pid)
        if self._reaps_unknown:
            self._reap_unknown_children()

    def close(self) -> None:
        """Watch no more; process groups that still have time to end are killed now."""
        for pid in list(self._grace):
            self._finish(pid)
        for watched in self._watched.values():
            self._close(watched)
        self._watched.clear()
        if self._reaps_unknown:
            self._reap_unknown_children()

    def _exited(self, pid: int) -> None:
        status = _peek(pid)
        leads_group = self._watched[pid].leads_group
        self._unreaped[pid] = leads_group
        self._end_watch(pid, status)
        if status is not None:
            self._end_group(pid)

    def _end_watch(self, pid: int, status: int | None) -> None:
        watched = self._watched.pop(pid)
        self._close(watched)
        watched.on_exit(status)

    def _close(self, watched: _Watched) -> None:
        if watched.pidfd is not None:
            self._loop.remove_reader(watched.pidfd)
            os.close(watched.pidfd)

    def _end_group(self, pid: int) -> None:
        """End the group of a dead child of our own, then reap it; until then its pid is its own."""
        if self._unreaped[pid]:
            process_group.signal_group(pid, signal.SIGTERM)
            if process_group.members(pid):
                self._grace[pid] = self._loop.call_later(
                    grace_periods.PROCESS_GROUP_SECONDS, self._finish, pid
                )
                return
        self._finish(pid)

    def _finish(self, pid: int) -> None:
        timer = self._grace.pop(pid, None)
        if timer is not None:
            timer.cancel()
        if self._unreaped.pop(pid, False):
            process_group.signal_group(pid, signal.SIGKILL)
        _reap(pid)

    def _reap_unknown_children(self) -> None:
        # One that is ours and waits for its group hides those behind it, a second at most.
        while (pid := _any_dead_child()) is not None:
            if pid in self._watched or pid in self._unreaped:
                return
            log.debug("reaped pid %d, which was not watched", pid)
            _reap(pid)


def _peek(pid: int) -> int | None:
    """The wait status of a dead child, left unreaped; None if it lives or is another's child."""
    try:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if found is None:
        return None
    exited = found.si_code == os.CLD_EXITED
    return (found.si_status & 0xFF) << 8 if exited else found.si_status & 0x7F


def _any_dead_child() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
