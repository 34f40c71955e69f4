"""Outcomes as the exchange script reads them, and what they count as."""

from docket.clock import delay_milliseconds
from docket.codec import encode_call, encode_error, encode_result, error_message
from docket.instrumentation import Counters
from docket.lifecycle import (
    Again,
    Cancelled,
    Completed,
    Failed,
    HandedBack,
    Outcome,
    Superseded,
)
from docket.store.records import Claim, OutcomeRow

#: Longest error text kept beside the exception itself, in characters.
_ERROR_TEXT_LIMIT = 4096


def row_of(claim: Claim, outcome: Outcome) -> OutcomeRow:
    """The row that hands an outcome in.

    Raises:
        PayloadTooLarge: the result is over the limit.
        Exception: what pickle raises for a result (or new arguments) that it cannot store.
    """
    key, entry, generation = claim.key, claim.entry, claim.generation
    match outcome:
        case Completed(result):
            return ("C", key, entry, generation, encode_result(result) or "", "", "")
        case Failed(error):
            return ("F", key, entry, generation, encode_error(error), error_text(error), "")
        case Again():
            call: bytes | str = ""
            if outcome.args is not None or outcome.kwargs is not None:
                call = encode_call(outcome.args or (), outcome.kwargs or {})
            delay = delay_milliseconds(outcome.delay_seconds)
            return ("A", key, entry, generation, delay, outcome.attempt, call)
        case Cancelled():
            return ("X", key, entry, generation, "", "", "")
        case HandedBack():
            return ("H", key, entry, generation, "", "", "")
        case Superseded():
            return ("S", key, entry, generation, "", "", "")


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
        case Again():
            counters.retried += 1
        case Cancelled():
            counters.cancelled += 1
        case Superseded():
            counters.superseded += 1
        case HandedBack():
            pass  # Not an end: whoever takes it next counts.
