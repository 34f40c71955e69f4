"""Plans that a process compiles before it forks, for all of its forks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from docket.dependencies.plan import Plan, compile_plan

#: The prepared plans by the id of their function, which its plan keeps alive: not every callable
#: has a hash, and some are equal to others.
_PREPARED: dict[int, Plan] = {}


def prepare_plan(function: Callable[..., Any]) -> None:
    """Compile the plan of a function that the forks of this process will register.

    A function that has none is left to them, who say why.
    """
    with suppress(Exception):
        _PREPARED[id(function)] = compile_plan(function)


def plan_of(function: Callable[..., Any]) -> Plan:
    """Return the plan of a function: the prepared one, or one that is compiled now.

    Raises:
        CycleError, DuplicateDependency, ValueError, TypeError: as `compile_plan`.
    """
    return _PREPARED.get(id(function)) or compile_plan(function)
