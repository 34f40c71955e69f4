"""The lines of the log about a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from docket.clock import format_duration, from_microseconds
from docket.dependencies.errors import blocked_by
from docket.execution import Execution
from docket.lifecycle import (
    Cancelled,
    Completed,
    Deferred,
    Failed,
    Outcome,
    Perpetuated,
    Requeued,
    Retried,
    Superseded,
)
from docket.log_text import CALL, ends
from docket.services.runs import Run
from docket.store.claims import Claim
from docket_display.printable import on_one_line

logger = logging.getLogger("docket.worker")
#: The logger of what follows a run because of its dependencies.
dependencies_logger = logging.getLogger("docket.dependencies")


class RunLog:
    """The log of one run: the text of its call and the attributes of its records are made once.

    They are made for the first line that is written, so a run without one costs nothing.

    Args:
        run: the run.
        of_worker: the attributes of every record of the worker.
        execution: the execution; None if the call cannot be decoded.
    """

    __slots__ = ("_attributes", "_call", "_execution", "_of_worker", "_run")

    def __init__(
        self, run: Run, of_worker: Mapping[str, object], execution: Execution | None
    ) -> None:
        self._run = run
        self._of_worker = of_worker
        self._execution = execution
        self._call: str | None = None
        self._attributes: dict[str, object] | None = None

    def start(self) -> None:
        """Log that the run begins."""
        if logger.isEnabledFor(logging.INFO):
            claim = self._run.claim
            arrow = "↪" if claim.attempt == 1 else "↬"
            late = format_duration(_lateness(claim))
            logger.info("%s [%s] %s", arrow, late, self.call, extra=self.attributes)

    def strike(self) -> None:
        """Log that the run does not begin, because of a strike."""
        logger.warning("🗙 %s", self.call, extra=self.attributes)

    def turn_away(self, reason: str, *arguments: object) -> None:
        """Log, for who debugs, that a limit did not admit the run."""
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %s", self.call, reason % arguments, extra=self.attributes)

    def end(self, outcome: Outcome, error: BaseException | None = None) -> None:
        """Log the end of the run.

        Args:
            outcome: its outcome.
            error: the exception that ended it.
        """
        run = self._run
        seconds = time.monotonic() - run.started_at
        match outcome:
            case Completed(handled=True) | Failed(handled=True):
                pass  # The handler has done its own logging.
            case _ if error is not None and run.ending is None and blocked_by(error) is not None:
                self._tell(logging.DEBUG, "↩ [%s] %s is not admitted: %s", seconds, error)
            case Completed():
                self._tell(logging.INFO, "↩ [%s] %s", seconds)
            case Failed():
                self._tell(logging.ERROR, "↩ [%s] %s", seconds, exc_info=error)
            case Retried() | Perpetuated():
                self._tell_of_successor(seconds, error)
            case Cancelled():
                self._tell(logging.INFO, "✗ [%s] %s (cancelled)", seconds)
            case Superseded():
                if dependencies_logger.isEnabledFor(logging.INFO):
                    log_what_follows(self._followed(seconds), is_superseded=True)
            case Requeued() | Deferred():
                self._tell(logging.INFO, "↩ [%s] %s was interrupted and is handed back", seconds)

    def _tell(
        self,
        level: int,
        text: str,
        seconds: float,
        *rest: object,
        exc_info: BaseException | None = None,
    ) -> None:
        if logger.isEnabledFor(level):
            attributes = self.attributes
            attributes["duration"] = seconds
            duration = format_duration(seconds)
            logger.log(level, text, duration, self.call, *rest, exc_info=exc_info, extra=attributes)

    def _tell_of_successor(self, seconds: float, error: BaseException | None) -> None:
        if error is not None:
            dependencies_logger.error("↩ %s", self._followed(seconds), exc_info=error)
        if dependencies_logger.isEnabledFor(logging.INFO):
            # Whether anything follows is known once the outcome is recorded.
            self._run.followed = self._followed(seconds)

    def _followed(self, seconds: float) -> str:
        return f"[{format_duration(seconds)}] {self.call}"

    @property
    def call(self) -> str:
        """The call as shown in the log."""
        if self._call is None:
            claim, execution = self._run.claim, self._execution
            self._call = (
                on_one_line(ends(f"{_text(claim.function)}(...){{{_text(claim.key)}}}", CALL))
                if execution is None
                else execution.call_repr()
            )
        return self._call

    @property
    def attributes(self) -> dict[str, object]:
        """The attributes of the records of the run."""
        if self._attributes is None:
            claim, execution = self._run.claim, self._execution
            labels = (
                {
                    "docket.task": _text(claim.function),
                    "docket.key": _text(claim.key),
                    "docket.when": from_microseconds(claim.when).isoformat(),
                    "docket.attempt": claim.attempt,
                }
                if execution is None
                else execution.specific_labels()
            )
            self._attributes = {**self._of_worker, **labels, "punctuality": _lateness(claim)}
        return self._attributes


def log_what_follows(followed: str, *, is_superseded: bool) -> None:
    """Log that a run is followed by another one, or by none since its key was replaced."""
    if is_superseded:
        dependencies_logger.info("↬ %s (superseded)", followed)
    else:
        dependencies_logger.info("↫ %s", followed)


def _lateness(claim: Claim) -> float:
    return (claim.started_at - claim.when) / 1_000_000


def _text(name: bytes) -> str:
    return name.decode(errors="replace")
