"""Outcomes as rows for the exchange script, and as counts."""

from enum import Enum

from docket.clock import delay_microseconds
from docket.dependencies.timeout import is_expiry
from docket.instrumentation.counters import Counters
from docket.lifecycle import (
    Cancelled,
    Completed,
    Deferred,
    Failed,
    Outcome,
    Perpetuated,
    Requeued,
    Retried,
    Successor,
    Superseded,
)
from docket.log_text import format_exception
from docket.serialization.pickle_codec import MAX_MESSAGE, error_message
from docket.services.payloads import Payloads
from docket.store.claims import Claim
from docket.store.connection.pipeline import Argument
from docket.store.transitions import OutcomeRow

#: The length of the row of an outcome without values, which most are.
BARE_ROW = 4
#: Most characters of the traceback in the log of attempts: its end says most.
MAX_ATTEMPT_TRACEBACK = 8192


class OutcomeKind(Enum):
    """The kinds of outcomes, by their letters in exchange.lua."""

    NOTHING_RETURNED = "N"
    COMPLETED = "C"
    FAILED = "F"
    CANCELLED = "X"
    AGAIN = "A"
    PERPETUATED = "P"
    REQUEUED = "H"
    SUPERSEDED = "S"


_NOTHING_RETURNED = OutcomeKind.NOTHING_RETURNED.value


def row_of(
    claim: Claim, outcome: Outcome, payloads: Payloads, *, is_suspect: bool = False
) -> OutcomeRow:
    """Make the row of an outcome.

    Args:
        is_suspect: whether the run has not outlived yet what its process died of before.

    Raises:
        PayloadTooLarge: the result is over the limit.
        UnfitValue: it does not fit the task's return annotation.
        Exception: raised by pickle for a result (or new arguments) that it cannot encode.
    """
    if isinstance(outcome, Completed) and outcome.result is None:
        # Most outcomes: the cases below take as long as the call of a short task.
        return (_NOTHING_RETURNED, claim.key, claim.entry, claim.generation)
    a: Argument = ""
    b: Argument = ""
    c: Argument = ""
    match outcome:
        case Completed(result, None):
            kind, a = OutcomeKind.COMPLETED, payloads.result(claim, result)
        case Completed(_, result_key):
            kind, b = OutcomeKind.COMPLETED, result_key or ""
        case Failed(error):
            kind, b, c = OutcomeKind.FAILED, error_text(error), outcome.result_key or ""
            a = "" if outcome.result_key else payloads.error(error)
        case Retried():
            kind, b = OutcomeKind.AGAIN, outcome.attempt
            a = delay_microseconds(outcome.delay_seconds)
            c = _new_call(claim, outcome, payloads)
        case Perpetuated(ended, successor):
            kind, a = OutcomeKind.PERPETUATED, _written(successor)
            b = error_text(ended.error) if isinstance(ended, Failed) else ""
            c = _new_call(claim, successor, payloads)
        case Deferred(delay_seconds):
            kind, a, b = OutcomeKind.AGAIN, delay_microseconds(delay_seconds), claim.attempt
        case Cancelled():
            kind = OutcomeKind.CANCELLED
        case Requeued():
            kind, a = OutcomeKind.REQUEUED, "" if is_suspect else "1"
        case Superseded():
            kind = OutcomeKind.SUPERSEDED
    return (kind.value, claim.key, claim.entry, claim.generation, a, b, c)


def _written(successor: Successor) -> str:
    due = f"{successor.due.origin.value}{successor.due.value}"
    return due if successor.schedule is None else f"{due}\x1f{successor.schedule}"


def _new_call(claim: Claim, called: Retried | Successor, payloads: Payloads) -> bytes | str:
    args, kwargs = called.args, called.kwargs
    return "" if args is None and kwargs is None else payloads.call(claim, args or (), kwargs or {})


def unstorable(outcome: Outcome, error: BaseException) -> Outcome:
    """Make the outcome that replaces one that cannot be stored: the failure to store it.

    A perpetual task goes on nevertheless, with the arguments that it had.
    """
    if isinstance(outcome, Perpetuated):
        return Perpetuated(Failed(error), Successor(outcome.successor.due))
    return Failed(error)


def failure_text(outcome: Outcome) -> str:
    """Return how an attempt failed, for the log of its attempts; "" for one that did not.

    Three fields: how, the error, and the end of its traceback, without the separators of that log.
    """
    match outcome:
        case Completed():
            return ""
        case Failed(error):
            return _failure(error)
        case Perpetuated(Failed(error)):
            return _failure(error)
        case Retried():
            return "retried\x1f\x1f" if outcome.error is None else _failure(outcome.error)
        case _:
            return ""


def _failure(error: BaseException) -> str:
    how = "timed out" if is_expiry(error) else "failed"
    trace = format_exception(error)[-MAX_ATTEMPT_TRACEBACK:]
    text, trace = (_without_separators(part) for part in (error_text(error), trace))
    return f"{how}\x1f{text}\x1f{trace}"


def _without_separators(text: str) -> str:
    return text.replace("\x1e", " ").replace("\x1f", " ").encode(errors="replace").decode()


def weight(row: OutcomeRow) -> int:
    """Estimate the bytes of payload in a row, which bound the number of rows in a call."""
    if len(row) == BARE_ROW:
        return 0
    payload, call = row[4], row[6]
    size = len(payload) if isinstance(payload, bytes) else 0
    return size + len(call) if isinstance(call, bytes) else size


def error_text(error: BaseException) -> str:
    """Write an error for the people who read a record: type and message, UTF-8, bounded."""
    return f"{type(error).__name__}: {error_message(error)}"[:MAX_MESSAGE]


def count(counters: Counters, outcome: Outcome, *, is_superseded: bool = False) -> None:
    """Count the outcome of an attempt.

    Args:
        counters: those of its task.
        outcome: the outcome.
        is_superseded: whether it was not recorded, since a newer run took its place.
    """
    if is_superseded:
        counters.superseded += 1
    match outcome:
        case Completed():
            counters.succeeded += 1
        case Failed():
            counters.failed += 1
        case Perpetuated(ended):
            count(counters, ended)
            counters.perpetuated += not is_superseded
        case Retried():
            counters.failed += 1
            counters.retried += not is_superseded
        case Cancelled():
            counters.cancelled += 1
        case Superseded():
            counters.superseded += not is_superseded
        case Requeued() | Deferred():
            pass  # Not an end: the next run counts.
