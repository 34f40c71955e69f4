"""Signals in the nursery and in the workers: without effect there, and not inherited.

A signal to the whole group (Ctrl-C, a service manager) must act once, through the supervisor. The
handlers are Python functions that do nothing, for the two other ways harm users: what is ignored,
or blocked, stays so over exec, and a task's `subprocess.run(["pg_dump", ...])` could not be
stopped any more. A handler is reset by exec, and by a hook of ours in a task's plain forks; until
that hook has run the signals wait, or a `terminate()` right after the start would be swallowed.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from supervisor.signals import HANDLED

#: Signals for the supervisor, and those that a terminal or a service manager may send to a group.
SHIELDED: Final = tuple(number for number in HANDLED if number != signal.SIGCHLD)

#: The signals that the forking thread had blocked before.
_held = threading.local()


def install() -> None:
    """Let all of SHIELDED pass without effect; again after the user's import, which may undo it.

    A signal that is ignored stays so: `nohup` and `command &` mean it for their descendants too.
    Only the main thread may call this.
    """
    for number in SHIELDED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _ignore)
            # Without this a signal would break a system call of a C library that does not expect
            # EINTR; it must follow each signal.signal, which sets it back.
            signal.siginterrupt(number, False)


def reset_in_forks() -> None:
    """Give every fork of this process, and of its forks, the default actions back.

    A worker calls `install` again; a process that a task forked is on its own. Call it once.
    """
    # Registered first, so `before` runs last and the others first: no hook of a user's in between.
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_reset)


@contextmanager
def blocked() -> Generator[None]:
    """Block all signals, around a fork, whose child has the default actions at first.

    The child leaves the block too, with handlers of its own in place by then.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: a handler, so that the signal does not do its default action."""


def _hold() -> None:
    _held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SHIELDED)


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _held.mask)


def _reset() -> None:
    for number in SHIELDED:
        if signal.getsignal(number) is _ignore:
            signal.signal(number, signal.SIG_DFL)
    _release()
