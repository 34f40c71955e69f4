"""The transitions of executions that are run by hand, without a consumer."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from docket.clock import microseconds_of
from docket.store import scripts
from docket.store.connection.pipeline import Argument, Pipeline
from docket.store.connection.retrying import PATIENCE_SECONDS, retry
from docket.store.keys import Keys
from docket.store.retention import Retention
from docket.store.scripts import Script

#: Suffix of the worker's name in the record of a run that was claimed by hand.
_BY_HAND = ".hand"

#: A generation has fewer.
_DIGITS = 17

#: The states in which an execution can be ended.
Mark = Literal["completed", "failed", "cancelled"]


class RunIdentity(NamedTuple):
    """The identity of an execution.

    generation: 0 for any execution of the key.
    entry: that of the run, if it is known; else "".
    """

    key: str
    generation: int
    entry: str


class Content(NamedTuple):
    """The fields of a record for an execution that was never scheduled; `when` as it is stored."""

    function: str
    call: bytes
    when: int | str
    attempt: int


class Held(NamedTuple):
    """A run that was claimed; instants in server microseconds."""

    generation: int
    attempt: int
    when: int
    started_at: int
    entry: str


class Marked(NamedTuple):
    """An execution that was ended; `completed_at` in server microseconds."""

    generation: int
    completed_at: int


class Rescheduled(NamedTuple):
    """The result of giving a run up for a later one."""

    disposition: Literal["scheduled", "superseded", "cancelled"]
    generation: int
    state: str


class ManualTransitions:
    """The transitions of one docket's executions by hand.

    Each may be repeated after a lost reply: it then returns the result of the first call.

    Args:
        pipeline: the connection.
        keys: those of the docket.
        retention: how long executions that have ended are kept.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys, retention: Retention) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._retention = retention.argument

    async def claim(
        self, identity: RunIdentity, worker: str, content: Callable[[], Content]
    ) -> Held | None:
        """Mark an execution running. None if it cannot be claimed."""
        entry = f"h{os.urandom(8).hex()}"
        reply = await self._call(
            scripts.CLAIM, identity, worker + _BY_HAND, entry, *_content(identity, content)
        )
        if not reply:
            return None
        generation, attempt, when, started_at, entry = reply
        try:
            due = microseconds_of(when)
        except (AttributeError, ValueError):
            due = int(started_at)  # Somebody else has written the record.
        return Held(generation, attempt, due, int(started_at), entry.decode())

    async def mark(
        self,
        identity: RunIdentity,
        state: Mark,
        error: str,
        result_key: str,
        content: Callable[[], Content],
    ) -> Marked | None:
        """End an execution. None if it is not the caller's to end."""
        reply = await self._call(
            scripts.MARK,
            identity,
            state,
            self._retention,
            error,
            result_key,
            *_content(identity, content),
        )
        if not reply:
            return None
        generation, completed_at = reply
        return Marked(generation, int(completed_at))

    async def reschedule(
        self,
        identity: RunIdentity,
        when: int | str,
        attempt: int,
        call: bytes,
        *,
        at_once: bool = False,
    ) -> Rescheduled:
        """Give up the run of an entry, and let the execution wait again.

        Args:
            when: in its stored form.
            at_once: whether it is due whatever the server's time is.
        """
        token = os.urandom(8).hex()
        reply = await self._call(
            scripts.RESCHEDULE, identity, when, attempt, call, token, self._retention, int(at_once)
        )
        disposition, generation, state = reply
        return Rescheduled(disposition.decode(), generation, state.decode())

    async def generation(self, key: str) -> int:
        """Read the newest generation of a key; 0 if there is no record."""
        found: bytes | None = await retry(
            lambda: self._pipeline.command(
                "HGET", self._keys.record(key), "generation", patience_seconds=PATIENCE_SECONDS
            )
        )
        return int(found) if found and len(found) < _DIGITS and found.isdigit() else 0

    async def _call(self, script: Script, identity: RunIdentity, *arguments: Argument) -> Any:
        keys = self._keys
        return await retry(
            lambda: self._pipeline.call(
                script,
                [*keys.places, keys.record(identity.key)],
                [keys.prefix, *identity, *arguments],
                patience_seconds=PATIENCE_SECONDS,
            )
        )


def _content(identity: RunIdentity, content: Callable[[], Content]) -> tuple[Argument, ...]:
    # Only an execution without a generation may have to be written: others have a record.
    return () if identity.generation else content()
