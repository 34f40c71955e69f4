"""The common part of all limits: a place in a signature, and a scope that follows from the call.

Limit                    permission of a claimed task to run now
├── ConcurrencyLimit     so many at once; the others wait for a slot
├── Cooldown             the first runs, the rest of its window is dropped
├── Debounce             the first one runs, once it has been quiet
└── RateLimit            so many in a sliding window; the others come later, or are dropped

Nothing is decided here. The limits of a run become requests; one script grants all or none of them
before any other dependency of the task is resolved, so that a waiting task holds no resources.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, TypeVar, cast

import uncalled_for

from docket.clock import delay_milliseconds, duration
from docket.dependencies.arguments import Lookup
from docket.dependencies.base import ProvidedDependency, TaskRun
from docket.store.limits import LimitKind, LimitRequest

T_co = TypeVar("T_co", covariant=True)

#: The kinds that are one window, of which the longer one is stricter.
_WINDOWS = (LimitKind.COOLDOWN, LimitKind.DEBOUNCE)

#: Longest text of an argument's value in a key, in characters; longer ones are digested.
VALUE_LIMIT = 128
#: The scopes of pauses begin with it (_pauses.lua).
RESERVED = "\x1f"


class Limit(ProvidedDependency[T_co]):
    """A limit on the runs of a task.

    As the default of a parameter it counts the task as a whole. In `Annotated[T, limit]`, at a
    parameter that the caller passes, it counts each value of that parameter separately. The same
    parameter name and value in another task count together with it, as does the same scope.

    Args:
        scope: prefix of the names that are counted; none by default.
    """

    def __init__(self, scope: str | None) -> None:
        if scope is not None and not isinstance(cast("object", scope), str):
            raise TypeError(f"The scope of a limit must be a str, not {scope!r}")
        if scope is not None and scope.startswith(RESERVED):
            raise ValueError(f"The scope of a limit may not begin with {RESERVED!r}, as {scope!r}")
        self.scope = scope

    @property
    def argument(self) -> str | None:
        """The name of the argument whose values it counts, if it names one itself."""
        return None

    @abstractmethod
    def request(self, target: str) -> LimitRequest | None:
        """Make the request of a run; None if it needs none.

        Args:
            target: the task's name, or an argument with its value, with the scope before it.
        """

    @abstractmethod
    def bound(self, run: TaskRun, target: str | None) -> T_co:
        """Return the value of its parameter in a run; `target` is None for an unlimited run."""

    def provide_alone(self, run: TaskRun) -> T_co:
        # Only the plan of the task has it granted: elsewhere it would limit nothing, silently.
        if uncalled_for.current_frame().function is not run.execution.function:
            raise LookupError(
                f"{type(self).__name__} limits nothing here: give it to a parameter of the task"
            )
        return self.provide(run)

    def provide(self, run: TaskRun) -> T_co:
        return self.bound(run, self.scoped(run.execution.function_name))

    def scoped(self, target: str) -> str:
        """Put the scope before a target."""
        return target if self.scope is None else f"{self.scope}:{target}"


class Gate:
    """A limit at its place in the signature of a task.

    Args:
        limit: the limit.
        argument: the argument whose values are counted; None counts the task.
    """

    __slots__ = ("argument", "limit")

    def __init__(self, limit: Limit[Any], argument: Lookup | None) -> None:
        self.limit = limit
        self.argument = argument

    def target(self, run: TaskRun) -> str | None:
        """Return the target that a run counts for; None if the call lacks the argument."""
        if self.argument is None:
            return self.limit.scoped(run.execution.function_name)
        try:
            value = self.argument.provide(run)
        except LookupError:
            return None
        return self.limit.scoped(f"{self.argument.name}:{text_of(value)}")

    def provide(self, run: TaskRun) -> object:
        """Return the value of the limit's parameter in a run."""
        return self.limit.bound(run, self.target(run))


def requests_of(gates: Iterable[Gate], run: TaskRun) -> list[LimitRequest]:
    """Return the requests of a run: of two for the same thing, the stricter one."""
    requests: dict[tuple[LimitKind, str], LimitRequest] = {}
    for gate in gates:
        target = gate.target(run)
        request = None if target is None else gate.limit.request(target)
        if request is None:
            continue
        other = requests.get((request.kind, request.scope), request)
        # Fewer slots and a lower rate are stricter; of windows, the longer one.
        strictest = max if request.kind in _WINDOWS else min
        requests[request.kind, request.scope] = strictest(request, other, key=lambda r: r.a)
    return list(requests.values())


def text_of(value: object) -> str:
    """Write a value as a part of a key."""
    text = str(value).encode(errors="backslashreplace").decode()
    if len(text) <= VALUE_LIMIT:
        return text
    return hashlib.sha256(text.encode()).hexdigest()


def window_milliseconds(name: str, window: timedelta) -> int:
    """Convert a window for the scripts; one that is not 0 lasts at least a millisecond.

    Raises:
        ValueError: it is negative.
    """
    window = duration(name, window)
    if window < timedelta(0):
        raise ValueError(f"{name} must not be negative, got {window!r}")
    return max(1, delay_milliseconds(window)) if window else 0
