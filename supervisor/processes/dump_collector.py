"""Stacks that processes wrote about themselves: put together to one record each, and read."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

#: A dump is whole when nothing more came for this long: faulthandler writes without an end mark.
QUIET_SECONDS = 0.1
#: Characters of one record, at most: whatever writes without a pause is no dump.
MOST_CHARACTERS = 1 << 20

#: The package whose code calls the users' task functions.
_DOCKET = str(Path(__file__).parents[2] / "docket")
#: A frame as faulthandler writes it, the innermost of a thread first.
_FRAME = re.compile(r'^  File "(?P<file>.*)", line \d+ in (?P<name>.+)$')
#: How the stack of the thread that took the signal begins: the main one, which runs the loop,
#: since the kernel prefers it.
_CURRENT = "Current thread "


class DumpCollector:
    """Gathers the pieces of one process's dump.

    Arguments:
        on_dump: called with the whole text.
    """

    def __init__(self, on_dump: Callable[[str], None]) -> None:
        self._on_dump = on_dump
        self._pieces: list[str] = []
        self._characters = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, piece: str) -> None:
        """A piece came; more may follow."""
        self._pieces.append(piece)
        self._characters += len(piece)
        if self._characters >= MOST_CHARACTERS:
            self.flush()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(QUIET_SECONDS, self.flush)

    def flush(self) -> None:
        """Hand over what there is. Nothing happens if there is none."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pieces:
            text = "".join(self._pieces)
            self._pieces.clear()
            self._characters = 0
            self._on_dump(text)


def functions_called(dump: str) -> list[str]:
    """The functions that the loop's thread was in, from where docket called the user's code.

    Innermost first, without repetition. None at all if no frame of docket is on that stack (a
    callback, a task that a task started), or none of the user's (the loop is in docket itself).
    """
    names: list[str] = []
    for line in _stack_of_loop(dump):
        frame = _FRAME.match(line)
        if frame is None:
            continue
        if frame["file"].startswith(_DOCKET):
            return list(dict.fromkeys(names))
        names.append(frame["name"])
    return []


def _stack_of_loop(dump: str) -> list[str]:
    lines = dump.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(_CURRENT)]
    if not starts:
        return []
    rest = lines[starts[-1] + 1 :]
    end = next((n for n, line in enumerate(rest) if not line.startswith("  ")), len(rest))
    return rest[:end]
