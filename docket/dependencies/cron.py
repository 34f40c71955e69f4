"""`Cron`: a perpetual task that runs at the times of a cron expression."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Self

from cronsim import CronSim, CronSimError

from docket.clock import aware, now
from docket.dependencies.base import TaskRun
from docket.dependencies.handlers import TaskOutcome
from docket.dependencies.perpetual import Perpetual, started_at
from docket.errors import DocketError
from docket.lifecycle import Due

if TYPE_CHECKING:
    from docket.execution import Execution

#: Names for common expressions, as in Vixie cron.
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class InvalidExpression(DocketError, ValueError, CronSimError):
    """A cron expression that cannot be used; it is also what cronsim raises for it."""


class Cron(Perpetual):
    """Run the task at the times of a cron expression, in the wall-clock time of a time zone.

    A run is followed by one at the next time of the expression after it began: at once, if that
    has passed when it ends. Further times that pass while it runs, or while no worker runs, are
    skipped.

    Times that daylight saving skips or repeats are handled as in Debian's cron: a job at a skipped
    time runs right after the change, a job at a repeated time runs once, and hourly or minutely
    jobs keep their pace.

    Example:
        async def report(cron: Cron = Cron("0 9 * * mon-fri", tz=ZoneInfo("Europe/Vienna"))): ...

    Args:
        expression: five fields (minute, hour, day of month, month, day of week), six with the
            seconds first, whatever else the library cronsim accepts, or one of @yearly, @annually,
            @monthly, @weekly, @daily, @midnight, @hourly.
        automatic: workers schedule it by themselves; see `Perpetual`.
        tz: the time zone of the expression, or its name ("Europe/Vienna").

    Attributes:
        expression: the fields; of a nickname those that it stands for.

    Raises:
        InvalidExpression: (a ValueError) it has another form, or names a day that no month has.
        ValueError: there is no time zone of this name.
        TypeError: the expression is no str, or `tz` neither a time zone nor a name.
    """

    def __init__(self, expression: str, automatic: bool = True, tz: tzinfo | str = UTC) -> None:
        super().__init__(automatic=automatic)
        self.expression = _fields_of(expression)
        self.tz = _zone_of(tz)
        #: The instant that `next_time` starts from, and the time that it has come to.
        self.start = now()
        self.reached: datetime | None = None

    @property
    def schedule(self) -> tuple[object, ...]:
        return self.expression, self.tz

    @property
    def initial_when(self) -> datetime:
        """The first run of an automatic task: the next time of the expression, as `next_time`."""
        return self.next_time()

    def next_time(self, after: datetime | None = None) -> datetime:
        """Return the time of the expression that follows the one returned before.

        The first call returns the first one after this object was made; of the object that a task
        gets, after the run began. The next run is due after those that the task has asked for.

        Args:
            after: return the first time later than this instant instead; counts as no call.
        """
        start = self.reached or self.start if after is None else aware("after", after)
        following = next(CronSim(self.expression, start.astimezone(self.tz)))
        if after is None:
            self.reached = following
        return following

    def as_if_made_now(self) -> Self:
        anew = super().as_if_made_now()
        anew.start, anew.reached = now(), None
        return anew

    def provide(self, run: TaskRun) -> Self:
        of_this_run = super().provide(run)
        of_this_run.start, of_this_run.reached = _beginning(run.execution), None
        return of_this_run

    def due_after(self, execution: Execution, outcome: TaskOutcome) -> Due:
        return Due.at(self.next_time(self.reached or _beginning(execution)))


def _beginning(execution: Execution) -> datetime:
    # By the server's clock, and never before this run's own time: by a slow clock that time is
    # still in the future, and the task would run twice.
    return max(started_at(execution), execution.when)


def _zone_of(tz: object) -> tzinfo:
    if isinstance(tz, tzinfo):
        return tz
    if not isinstance(tz, str):
        raise TypeError(f"tz of a Cron must be a tzinfo or the name of a time zone, not {tz!r}")
    # Imported for a name only: with what it needs it takes as long as ten of our modules.
    zoneinfo = importlib.import_module("zoneinfo")
    try:
        zone: tzinfo = zoneinfo.ZoneInfo(tz)
        return zone
    except (ValueError, LookupError, OSError) as error:
        raise ValueError(
            f"tz of a Cron names no time zone that is known here: {tz!r} ({error}); where a system "
            "has no time zones, install tzdata"
        ) from error


def _fields_of(expression: object) -> str:
    if not isinstance(expression, str):
        raise TypeError(f"A cron expression must be a str, not {expression!r}")
    fields = NICKNAMES.get(expression, expression)
    try:
        CronSim(fields, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise InvalidExpression(
            f"Cron expression {expression!r} cannot be used ({error}): write five fields (minute, "
            "hour, day of month, month, day of week), six with the seconds first, or one of "
            f"{', '.join(NICKNAMES)}"
        ) from error
    return fields
