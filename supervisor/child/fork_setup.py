"""Make a forked child a process of its own: undo what the fork shared.

The order matters: signals stay blocked until handlers are installed, and no thread is started
before the state that threads would use is its own.
"""

from __future__ import annotations

import asyncio
import atexit
import faulthandler
import gc
import logging
import os
import signal
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ipc.messages import Settings
from supervisor.child import signal_shield
from supervisor.system.stack_signal import stack_signal

#: Added to a worker's oom_score_adj: when memory runs out, a worker goes before the supervisor
#: that would replace it.
OOM_SCORE_RAISED: Final = 250
_OOM_SCORE_MOST = 1000
_OOM_SCORE = Path("/proc/self/oom_score_adj")  # psutil cannot write it

#: Modules with random generators that workers would share, by a fork or by a seed that the user's
#: import gives them, and the function that reseeds each. Keys of tasks are UUIDs: twins would lose
#: tasks.
RESEEDERS: Final = (("random", "seed"), ("numpy.random", "seed"), ("uuid_utils", "reseed_rng"))


@dataclass(frozen=True)
class ChildSpec:
    """The identity, the settings and the descriptors of a forked child, which owns the latter."""

    slot: int
    name: str
    settings: Settings
    channel: int
    keeper: int
    dump: int


class ExitHandler:
    """End the process with the exit handlers that it registered, and with none that it inherited.

    Exit handlers run last in, first out; this one is registered before any of the worker's own
    and after all of the nursery's, so at its turn only inherited ones are left. They belong to
    the nursery (temporary files, profilers) and would run once a worker. What Python does after
    them, taking modules apart, would copy every page the workers share, and is left out too.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._status = 1
        atexit.register(self._end)

    def with_status(self, status: int) -> int:
        """End with this exit status; without, an exception was the end, and it is 1."""
        self._status = status
        return status

    def _end(self) -> None:
        if os.getpid() == self._pid:  # not in the fork of a task
            # Inherited like the others, but these two are about what each process has of its own.
            finalize()
            logging.shutdown()
            flush()
            os._exit(self._status)


@dataclass(frozen=True)
class ForkedChild:
    """A forked child that has become a process of its own."""

    spec: ChildSpec
    exit_handler: ExitHandler


def set_up(spec: ChildSpec) -> ForkedChild:
    """Make a forked process one of its own. Called with all signals blocked."""
    os.setpgid(0, 0)  # the nursery does so too: either may be first
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal_shield.install()
    gc.enable()
    # The user's import may have made a loop; its selector and its self-pipe are shared.
    asyncio.set_event_loop(None)
    reseed()
    disown_finalizers()
    hide_program()
    raise_oom_score()
    listen_for_dumps(spec.dump)
    return ForkedChild(spec, ExitHandler())


def listen_for_dumps(dump: int) -> None:
    """Register faulthandler; again after an import in the worker, which may have changed it.

    The pipe does not block: a handler that did would hang the process if nobody reads.
    """
    os.set_blocking(dump, False)
    faulthandler.register(stack_signal(), file=dump, all_threads=True, chain=False)


def reseed() -> None:
    """Give the loaded random generators a seed of this process; again after an import."""
    for module_name, function in RESEEDERS:
        reseeder: Callable[[], object] | None = getattr(
            sys.modules.get(module_name), function, None
        )
        if reseeder is not None:
            reseeder()


def disown_finalizers() -> None:
    """Leave to the nursery the cleanups at exit that its import registered."""
    for each in _finalizers():
        each.atexit = False


def finalize() -> None:
    """Run the finalizers that this process registered itself, last in, first out.

    All finalizers of a process share one exit handler. If the import has registered it, it is
    among the inherited ones that do not run.
    """
    for each in reversed(_finalizers()):
        if each.atexit:
            try:
                each()
            except Exception as error:  # reported as by weakref's own handler
                sys.excepthook(type(error), error, error.__traceback__)


def _finalizers() -> list[weakref.finalize[..., Any]]:
    return list(getattr(weakref.finalize, "_registry", {}))


def hide_program() -> None:
    """Hide our `__main__`: multiprocessing imports that in each process that it spawns.

    Ours would take 200 ms, and come from a path on which the user's modules stand first.
    """
    program = sys.modules["__main__"]
    program.__spec__ = None
    if hasattr(program, "__file__"):
        del program.__file__


def raise_oom_score() -> None:
    """Offer this process to the kernel's OOM killer before its supervisor."""
    try:
        score = int(_OOM_SCORE.read_text()) + OOM_SCORE_RAISED
        _OOM_SCORE.write_text(str(min(score, _OOM_SCORE_MOST)))
    except OSError:
        return  # not Linux, or /proc is read-only: the kernel chooses as it likes


def flush() -> None:
    """Flush stdout and stderr: a fork would write their buffers twice."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # closed, or its reader is gone
