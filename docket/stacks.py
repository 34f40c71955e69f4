"""The stacks of coroutines: where they wait, which no traceback of a thread shows."""

from __future__ import annotations

import gc
import inspect
from traceback import FrameSummary
from types import CodeType
from typing import Any


def frames(awaited: Any) -> list[FrameSummary]:
    """List the frames of a coroutine and of what it awaits, as far as that is written in Python."""
    found: list[FrameSummary] = []
    while (
        frame := _first(awaited := _behind(awaited), "cr_frame", "gi_frame", "ag_frame")
    ) is not None:
        code: CodeType = frame.f_code
        found.append(FrameSummary(code.co_filename, frame.f_lineno, code.co_name))
        awaited = _first(awaited, "cr_await", "gi_yieldfrom", "ag_await")
    return found


def _behind(awaited: object) -> object:
    """Return the asynchronous generator behind a step of it, which has no attribute for that."""
    if type(awaited).__name__ not in ("async_generator_asend", "async_generator_athrow"):
        return awaited
    held = gc.get_referents(awaited)
    return next((each for each in held if inspect.isasyncgen(each)), awaited)


def _first(owner: object, *names: str) -> Any:
    # Coroutines and generators of both kinds have the same ones under names of their own.
    return next((getattr(owner, name) for name in names if hasattr(owner, name)), None)
