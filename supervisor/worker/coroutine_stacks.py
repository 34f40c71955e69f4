"""The stacks of the coroutines of this process, as text.

faulthandler, which needs no running loop, shows the stacks of threads; a coroutine that waits is
in none of them. `asyncio.Task.print_stack` shows the outermost frame only of a coroutine that
waits, which is the same line of ours for every task.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Sequence
from traceback import StackSummary
from typing import Final

from docket.stacks import frames
from docket.supervision import RunningTask
from docket_display import printable
from supervisor.text.plurals import pluralize

#: Frames shown of one coroutine, the innermost.
FRAMES: Final = 20


def write_to(pipe: int, running: Sequence[RunningTask], now: float) -> bool:
    """Write them all to a pipe that does not block; False if not all of it fitted.

    `now` and the starts of the running tasks are time.monotonic().
    """
    data = text(running, now).encode(errors="replace")
    try:
        return os.write(pipe, data) == len(data)
    except OSError:
        return False


def text(running: Sequence[RunningTask], now: float) -> str:
    """The running tasks, then the stack of each coroutine of the running loop.

    Those of the running tasks come first, under their names: a reader looks for them, and they are
    what is left of a dump that does not fit.
    """
    names = {
        task.runs_in: f"of {task.function} {printable.on_one_line(task.key)}" for task in running
    }
    every = asyncio.all_tasks()
    users = [each for each in names if each in every]
    others = sorted(every.difference(users), key=lambda each: each.get_name())
    out = io.StringIO()
    out.write(f"Worker {os.getpid()}: {pluralize(len(running), 'task')} running\n")
    for task in running:
        key = printable.on_one_line(task.key)
        out.write(f"  {task.function} {key} for {now - task.started_at:.3f}s\n")
    for each in (*users, *others):
        out.write(f"Coroutine {names.get(each, each.get_name())}, most recent call last:\n")
        out.writelines(StackSummary.from_list(frames(each.get_coro())[-FRAMES:]).format())
    return out.getvalue()
