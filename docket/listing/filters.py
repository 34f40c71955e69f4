"""Filters of listings (pure)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Self, cast

import msgspec

from docket.clock import aware, to_microseconds
from docket.execution import ExecutionState
from docket.listing.summaries import (
    ListedState,
    Record,
    error_of,
    function_of,
    instant_of,
    shown,
    worker_in,
)

#: All states, in the order in which they are listed.
_ORDER = tuple(ListedState)

#: The field of a record with the instant that `since` and `until` are about.
_INSTANTS = {
    ListedState.RUNNING: "started_at",
    ListedState.QUEUED: "when",
    ListedState.WAITING: "when",
    ListedState.SCHEDULED: "when",
    ListedState.FAILED: "completed_at",
    ListedState.CANCELLED: "completed_at",
    ListedState.COMPLETED: "completed_at",
}

#: A state, or its name.
AnyState = ListedState | ExecutionState | str


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """The executions that are meant.

    Attributes:
        states: their states, in the order of ListedState.
        function: the name of their task.
        key_prefix: the beginning of their keys.
        worker: the name of the worker that runs them, or ran them.
        error: the type of their error, or a part of its text.
        since, until: a span of time, without its end: of those scheduled their due time, of those
            that have ended their end, of those that run their start.
    """

    states: tuple[ListedState, ...] = _ORDER
    function: str | None = None
    key_prefix: str | None = None
    worker: str | None = None
    error: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def of(
        cls,
        state: AnyState | Iterable[AnyState] | None = None,
        *,
        function: str | None = None,
        key_prefix: str | None = None,
        worker: str | None = None,
        error: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Self:
        """Make a filter; None leaves a condition out.

        Raises:
            ValueError: a state has an unknown name, or `until` is not after `since`.
            TypeError: `since` or `until` is no timezone-aware datetime, a text is no str, or
                `state` is neither a state nor several.
        """
        texts = {"function": function, "key_prefix": key_prefix, "worker": worker, "error": error}
        for name, text in texts.items():
            if text is not None:
                check_text(name, text)
        since = None if since is None else aware("since", since)
        until = None if until is None else aware("until", until)
        if since is not None and until is not None and until <= since:
            raise ValueError(f"until ({until}) is not after since ({since}): nothing can match")
        return cls(
            states=_states(state),
            function=function,
            key_prefix=key_prefix,
            worker=worker,
            error=error,
            since=since,
            until=until,
        )

    def matches_key(self, key: bytes) -> bool:
        """Return whether an execution of this key may be meant."""
        return not self.key_prefix or shown(key).startswith(self.key_prefix)

    def deciding_fields(self, state: ListedState) -> tuple[str, ...]:
        """Return the fields of a record that decide, beside its key and state; none if those do."""
        fields = {
            "function": self.function is not None,
            "worker": self.worker is not None,
            "error": self.error is not None,
            _INSTANTS[state]: self.since is not None or self.until is not None,
        }
        return tuple(name for name, decides in fields.items() if decides)

    def matches_fields(self, state: ListedState, record: Record) -> bool:
        """Return whether an execution is meant as far as its deciding fields tell."""
        return (
            self.function in (None, function_of(record))
            and self.worker in (None, worker_in(record))
            and self._has_error(error_of(record))
            and self._spans(instant_of(record, _INSTANTS[state]))
        )

    def _has_error(self, error: str | None) -> bool:
        return self.error is None or (error is not None and self.error in error)

    def _spans(self, at: datetime | None) -> bool:
        if self.since is None and self.until is None:
            return True
        if at is None:
            return False
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)

    def milliseconds(self) -> tuple[int | None, int | None]:
        """Return `since` and `until` in milliseconds from the epoch, rounded to cover the span."""
        since = None if self.since is None else to_microseconds(self.since) // 1000
        # Earlier versions stored due times rounded up.
        until = None if self.until is None else -(-to_microseconds(self.until) // 1000) + 1
        return since, until

    def digest(self, docket_name: str) -> bytes:
        """Return a mark of this filter on a docket, by which its cursors are known."""
        what = msgspec.json.encode([docket_name, self])
        return hashlib.sha256(what, usedforsecurity=False).digest()[:8]


def check_filter(wanted: object) -> None:
    """Refuse a value that is no filter.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(wanted, Filter):
        raise TypeError(
            f"The filter must be a Filter, such as Filter.of('failed'), not {wanted!r:.100}"
        )


def check_text(name: str, text: object) -> None:
    """Refuse the value of an argument that is no text.

    Raises:
        TypeError: it is no str.
        ValueError: it holds lone surrogates, which nothing can store.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, not {type(text).__name__}: {text!r:.100}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} {text!r:.100} is no valid text: {error.reason}") from None


def _states(state: AnyState | Iterable[AnyState] | None) -> tuple[ListedState, ...]:
    if state is None:
        return _ORDER
    wanted = {_state(each) for each in _each_of(state)}
    return tuple(each for each in _ORDER if each in wanted)


def _each_of(state: object) -> Iterable[object]:
    if isinstance(state, (ListedState, ExecutionState, str)):
        return (state,)
    if not isinstance(state, Iterable):
        raise TypeError(f"state must be a state or its name, or several, not {state!r:.100}")
    return cast("Iterable[object]", state)


def _state(state: object) -> ListedState:
    if not isinstance(state, (ListedState, ExecutionState, str)):
        raise TypeError(f"A state must be a ListedState or its name, not {state!r:.100}")
    value = state if isinstance(state, str) else state.value
    try:
        return ListedState(value)
    except ValueError:
        known = ", ".join(each.value for each in ListedState)
        raise ValueError(f"There is no state {value!r}; the states are {known}") from None
