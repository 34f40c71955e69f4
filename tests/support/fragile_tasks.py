"""Workers and nurseries that die or hang at a moment that a test chooses, by files in a folder.

The folder is named by FRAGILE_FOLDER. `die-N` kills the worker of slot N while it starts, as often
as it is started; `hang-N` has it wait there until the file is gone; `die-*` and `hang-*` are for
every slot. `import` has the import wait. `before-fork` and `after-fork` kill the nursery, once.
"""

import inspect
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from tests.support.stalling_tasks import nap

FOLDER = Path(os.environ["FRAGILE_FOLDER"])


def _wait_while(path: Path) -> None:
    while path.exists():
        time.sleep(0.02)


def _slot_of_this_worker() -> int:
    """Nothing tells a task module which slot it is in: its caller knows."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        if "spec" in frame.f_locals:
            return frame.f_locals["spec"].slot
        frame = frame.f_back
    raise AssertionError("not called by a worker that starts")


class Fragile:
    """A collection that each worker reads while it starts."""

    def __iter__(self) -> Iterator[Any]:
        for which in (_slot_of_this_worker(), "*"):
            if (FOLDER / f"die-{which}").exists():
                os.kill(os.getpid(), signal.SIGKILL)
            _wait_while(FOLDER / f"hang-{which}")
        return iter([nap])


def _die_once(name: str) -> None:
    try:
        (FOLDER / name).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


_wait_while(FOLDER / "import")
os.register_at_fork(
    before=lambda: _die_once("before-fork"),
    after_in_parent=lambda: _die_once("after-fork"),
)
tasks = Fragile()
