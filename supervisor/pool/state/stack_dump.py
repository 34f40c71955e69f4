"""The functions that a stack dump names (pure)."""

import re
from pathlib import Path

#: The package whose code calls the users' task functions.
_DOCKET = str(Path(__file__).parents[3] / "docket")
#: A frame as faulthandler writes it, the innermost of a thread first.
_FRAME = re.compile(r'^  File "(?P<file>.*)", line \d+ in (?P<name>.+)$')
#: First line of the stack of the thread that handled the signal; the kernel prefers the main
#: thread, which runs the loop.
_CURRENT = "Current thread "


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
