"""`Perpetual`: a task that runs again and again, each run followed by the next.

The successor is a value (`Successor`) that the executor hands to the store together with the end of
the run: both are written in one step, so that no crash can separate them.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable
from copy import copy
from datetime import datetime, timedelta
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from docket.annotations import signature_of
from docket.clock import aware, duration, now
from docket.dependencies.base import ProvidedDependency, TaskRun
from docket.dependencies.handlers import PureCompletionHandler, TaskOutcome
from docket.dependencies.plan import Plan
from docket.lifecycle import Due, Successor

if TYPE_CHECKING:
    from docket.execution import Execution


#: The part of a representation that differs between processes.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Perpetual(PureCompletionHandler["Perpetual"], ProvidedDependency["Perpetual"]):
    """Run the task again after each run, whether that succeeded or failed.

    The successor has the same key and the same arguments, and is due `every` after the start of the
    run (at once, if the run took longer). With a `Retry`, the attempts come first and the successor
    follows the last one. A cancelled task has no successor.

    In the task, the parameter's value belongs to this run: changes to it apply to the next run
    only.

    Example:
        async def poll(cursor: int, perpetual: Perpetual = Perpetual(every=timedelta(minutes=1))):
            ...
            perpetual.perpetuate(new_cursor)

    Args:
        every: target time from the start of one run to that of the next.
        automatic: workers schedule it by themselves, at their start and whenever it is found
            missing: once, with its name as the key. Such a task must not require any arguments. If
            newer code changes the schedule while it waits, it is timed anew.

    Raises:
        ValueError: `every` is negative.
    """

    def __init__(self, every: timedelta = timedelta(0), automatic: bool = False) -> None:
        self.every = every
        if self.every < timedelta(0):
            raise ValueError(f"every of a perpetual task must not be negative, got {every!r}")
        self.automatic = automatic
        #: The name of the schedule that an automatic task had at the start of its run.
        self.scheduled_by: str | None = None
        #: The successor's arguments: in the task those of this run, until it changes them.
        self.args: tuple[Any, ...] | None = None
        self.kwargs: dict[str, Any] | None = None
        self.cancelled = False
        self._due: Callable[[], Due] | None = None

    @property
    def every(self) -> timedelta:
        """Target time from the start of one run to that of the next; checked when it is set."""
        return self._every

    @every.setter
    def every(self, every: timedelta) -> None:
        self._every = duration("every", every)

    @property
    def schedule_name(self) -> str:
        """A short name of its schedule: of an automatic task that waits, a change is seen by it."""
        return name_of_schedule(type(self).__qualname__, *self.schedule)

    @property
    def schedule(self) -> tuple[object, ...]:
        """The values that its due times follow from."""
        return (self.every,)

    @property
    def initial_when(self) -> datetime | None:
        """The first run of an automatic task; None for at once."""
        return None

    def provide(self, run: TaskRun) -> Self:
        of_this_run = self.copy()
        of_this_run.args = run.execution.args
        of_this_run.kwargs = dict(run.execution.kwargs)
        if self.automatic:
            of_this_run.scheduled_by = self.schedule_name
        return of_this_run

    def cancel(self) -> None:
        """Make this run the last.

        An automatic task is scheduled again within a minute, or when the next worker starts: use
        `strike` to stop one for good.
        """
        self.cancelled = True

    def perpetuate(self, *args: Any, **kwargs: Any) -> None:
        """Call the successor with these arguments; they replace all arguments of this run."""
        self.args = args
        self.kwargs = kwargs

    def after(self, delay: timedelta) -> None:
        """Schedule the successor `delay` from now."""
        asked_at = monotonic()
        seconds = duration("delay", delay).total_seconds()
        # Counted from now although it is sent at the end: a delay involves the server's clock only.
        self._due = lambda: Due.from_now(seconds - (monotonic() - asked_at))

    def at(self, when: datetime) -> None:
        """Schedule the successor at `when` (at once, if that has passed)."""
        due = Due.at(aware("when", when))
        self._due = lambda: due

    def after_completion(self, execution: Execution, outcome: TaskOutcome) -> Successor | None:
        if self.cancelled:
            return None
        due = self._due() if self._due is not None else self.due_after(execution, outcome)
        schedule = None if self._due is not None or not self.automatic else self._unchanged()
        if self._keeps_arguments(execution):
            return Successor(due, schedule=schedule)
        return Successor(due, self.args, self.kwargs, schedule)

    def _unchanged(self) -> str | None:
        """Return the name of the schedule, unless the run has changed it for its successor."""
        name = self.schedule_name
        return name if self.scheduled_by in (None, name) else None

    def _keeps_arguments(self, execution: Execution) -> bool:
        # By identity, so that nobody's __eq__ is called: what is the same need not be stored again.
        args, kwargs, given = self.args, self.kwargs, execution.kwargs
        if args is None or kwargs is None:
            return args is kwargs
        return (
            args is execution.args
            and kwargs.keys() == given.keys()
            and all(value is given[name] for name, value in kwargs.items())
        )

    def due_after(self, execution: Execution, outcome: TaskOutcome) -> Due:
        """Return the due time of the successor, unless the task has set it."""
        return Due.since_start(max(0.0, self.every.total_seconds()))

    def as_if_made_now(self) -> Self:
        """Return a copy, as if it had been made at this moment."""
        return copy(self)


@cache
def name_of_schedule(*parts: object) -> str:
    """Return a short name, the same in all processes, for what a schedule consists of."""
    text = " ".join(_ADDRESS.sub("", f"{part}") for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def perpetual_of(plan: Plan) -> Perpetual | None:
    """Return the plan's Perpetual, if the task is perpetual."""
    if plan.completion_handler is None:
        return None
    dependency = plan.steps[plan.completion_handler].dependency
    return dependency if isinstance(dependency, Perpetual) else None


def automatic_of(plan: Plan) -> Perpetual | None:
    """Return the plan's Perpetual, if workers schedule the task by themselves."""
    perpetual = perpetual_of(plan)
    return perpetual if perpetual is not None and perpetual.automatic else None


def refuse_required_arguments(name: str, plan: Plan) -> None:
    """Refuse an automatic task that requires arguments.

    Raises:
        ValueError: it has parameters with neither a default nor a dependency.
    """
    if automatic_of(plan) is None:
        return
    filled = {argument.name for argument, _ in plan.fillers}
    required = [
        parameter.name
        for parameter in signature_of(plan.function).parameters.values()
        if parameter.default is inspect.Parameter.empty
        and parameter.name not in plan.parameters | filled
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if required:
        raise ValueError(
            f"Automatic task {name!r} must not require any arguments, since workers schedule it by "
            f"themselves, but it requires: {', '.join(required)}. Give them defaults, or schedule "
            "it yourself (automatic=False)"
        )


def started_at(execution: Execution) -> datetime:
    """Return the start of a run by the server's clock; for a manual run, our clock's now."""
    return execution.started_at or now()
