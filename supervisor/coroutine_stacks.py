"""Where the coroutines of this process stand, as text.

faulthandler, which needs no running loop, shows the stacks of threads; a coroutine that waits is
in none of them.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Sequence
from typing import Final

from docket.supervision import RunningTask

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
    """The running tasks, then the stack of each coroutine of the running loop."""
    out = io.StringIO()
    out.write(f"Worker {os.getpid()}: {len(running)} tasks running\n")
    for task in running:
        out.write(f"  {task.function} {task.key} for {now - task.started_at:.3f}s\n")
    for coroutine in sorted(asyncio.all_tasks(), key=lambda each: each.get_name()):
        coroutine.print_stack(limit=FRAMES, file=out)
    return out.getvalue()
