"""`Cron`: a perpetual task that runs at the times of a cron expression."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from cronsim import CronSim, CronSimError

from docket.clock import now
from docket.dependencies.handlers import TaskOutcome
from docket.dependencies.perpetual import Perpetual, started_at
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


class Cron(Perpetual):
    """Run the task at the times of a cron expression, in the wall-clock time of a time zone.

    Times that daylight saving skips or repeats are handled as in Debian's cron: a job at a skipped
    time runs right after the change, a job at a repeated time runs once, and hourly or minutely
    jobs keep their pace. A time that passes while the task still runs, or while no worker runs, is
    not made up for.

    Example:
        async def report(cron: Cron = Cron("0 9 * * mon-fri", tz=ZoneInfo("Europe/Vienna"))): ...

    Args:
        expression: five fields (minute, hour, day of month, month, day of week), or one of @yearly,
            @annually, @monthly, @weekly, @daily, @midnight, @hourly.
        automatic: workers schedule it by themselves; see `Perpetual`.
        tz: the time zone of the expression.

    Raises:
        ValueError: the expression has another form, or names a day that no month has.
    """

    def __init__(self, expression: str, automatic: bool = True, tz: tzinfo = UTC) -> None:
        super().__init__(automatic=automatic)
        self.expression = expression
        self.tz = tz
        self._fields = _fields_of(expression)

    @property
    def initial_when(self) -> datetime:
        """The first run of an automatic task: the next time of the expression."""
        return self.next_time()

    def next_time(self, after: datetime | None = None) -> datetime:
        """Return the first time of the expression later than `after` (by default, now)."""
        return next(CronSim(self._fields, (after or now()).astimezone(self.tz)))

    def due_after(self, execution: Execution, outcome: TaskOutcome) -> Due:
        # By the server's clock, and never before this run's own time: by a slow clock that time is
        # still in the future, and the task would run twice.
        ended_at = started_at(execution) + outcome.duration
        return Due.at(self.next_time(max(ended_at, execution.when)))


def _fields_of(expression: str) -> str:
    fields = NICKNAMES.get(expression, expression)
    cause = "it does not have five fields"
    if len(fields.split()) == 5:
        try:
            CronSim(fields, datetime(2000, 1, 1, tzinfo=UTC))
            return fields
        except CronSimError as error:
            cause = str(error)
    raise ValueError(
        f"Cron expression {expression!r} cannot be used ({cause}): write five fields (minute, "
        f"hour, day of month, month, day of week) or one of {', '.join(NICKNAMES)}"
    )
