"""Outcomes as the exchange script reads them, and what they count as."""

from docket.clock import delay_milliseconds
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
from docket.serialization.pickle_codec import error_message
from docket.services.payloads import Payloads
from docket.store.connection.pipeline import Argument
from docket.store.transitions import Claim, OutcomeRow

#: Longest error text kept beside the exception itself, in characters.
_ERROR_TEXT_LIMIT = 4096


def row_of(claim: Claim, outcome: Outcome, payloads: Payloads) -> OutcomeRow:
    """The row that hands an outcome in.

    Raises:
        PayloadTooLarge: the result is over the limit.
        UnfitValue: it is not what the task says it returns.
        Exception: what pickle raises for a result (or new arguments) that it cannot store.
    """
    a: Argument = ""
    b: Argument = ""
    c: Argument = ""
    match outcome:
        case Completed(None):
            kind = "C"
        case Completed(result, None):
            kind, a = "C", payloads.result(claim, result)
        case Completed(_, result_key):
            kind, b = "C", result_key or ""
        case Failed(error):
            kind, b, c = "F", error_text(error), outcome.result_key or ""
            a = "" if outcome.result_key else payloads.error(error)
        case Retried():
            kind, a, b = "A", delay_milliseconds(outcome.delay_seconds), outcome.attempt
            c = _new_call(claim, outcome, payloads)
        case Perpetuated(ended, successor):
            kind, a = "P", f"{successor.due.origin}{successor.due.milliseconds}"
            b = error_text(ended.error) if isinstance(ended, Failed) else ""
            c = _new_call(claim, successor, payloads)
        case Deferred(delay_seconds):
            kind, a, b = "A", delay_milliseconds(delay_seconds), claim.attempt
        case Cancelled():
            kind = "X"
        case Requeued():
            kind = "H"
        case Superseded():
            kind = "S"
    return (kind, claim.key, claim.entry, claim.generation, a, b, c)


def _new_call(claim: Claim, called: Retried | Successor, payloads: Payloads) -> bytes | str:
    args, kwargs = called.args, called.kwargs
    return "" if args is None and kwargs is None else payloads.call(claim, args or (), kwargs or {})


def unstorable(outcome: Outcome, error: BaseException) -> Outcome:
    """What stands for an outcome that cannot be stored: the failure to store it.

    A perpetual task goes on all the same, with the arguments that it had.
    """
    if isinstance(outcome, Perpetuated):
        return Perpetuated(Failed(error), Successor(outcome.successor.due))
    return Failed(error)


def weight(row: OutcomeRow) -> int:
    """Bytes of payload in a row, as good as: what bounds how many rows go in one call."""
    _, _, _, _, payload, _, call = row
    size = len(payload) if isinstance(payload, bytes) else 0
    return size + len(call) if isinstance(call, bytes) else size


def error_text(error: BaseException) -> str:
    """An error as people read it in a record: its type and message, valid UTF-8, bounded."""
    return f"{type(error).__name__}: {error_message(error)}"[:_ERROR_TEXT_LIMIT]


def count(counters: Counters, outcome: Outcome) -> None:
    """Count an outcome that was recorded."""
    match outcome:
        case Completed():
            counters.succeeded += 1
        case Failed():
            counters.failed += 1
        case Perpetuated(ended):
            count(counters, ended)
            counters.perpetuated += 1
        case Retried():
            counters.retried += 1
        case Cancelled():
            counters.cancelled += 1
        case Superseded():
            counters.superseded += 1
        case Requeued() | Deferred():
            pass  # Not an end: whoever takes it next counts.
