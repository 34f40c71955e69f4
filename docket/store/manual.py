"""Transitions of one execution, for who runs it by hand: without being a consumer."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from docket.clock import delay_milliseconds
from docket.store import scripts
from docket.store.connection.pipeline import Argument, Pipeline
from docket.store.connection.retrying import PATIENCE_SECONDS, retry
from docket.store.keys import Keys
from docket.store.scripts import Script

#: What a worker's name is followed by in the record of a run that was claimed by hand.
_BY_HAND = ".hand"


#: How an execution can be ended.
Mark = Literal["completed", "failed", "cancelled"]


class RunIdentity(NamedTuple):
    """Which execution is meant.

    generation: 0 for whatever is under the key.
    entry: of the run, if it is known; else "".
    """

    key: str
    generation: int
    entry: str


class Content(NamedTuple):
    """What the record of an execution that was never scheduled is made of; `when` in ms."""

    function: str
    call: bytes
    when: int
    attempt: int


class Held(NamedTuple):
    """A run that was claimed; instants in server milliseconds."""

    generation: int
    attempt: int
    when: int
    started_at: int
    entry: str


class Marked(NamedTuple):
    """An execution that was ended; `completed_at` in server milliseconds."""

    generation: int
    completed_at: int


class Rescheduled(NamedTuple):
    """What became of giving a run up for a later one; `when` in milliseconds."""

    disposition: Literal["scheduled", "superseded", "cancelled"]
    generation: int
    when: int
    state: str


class ManualTransitions:
    """The transitions of one docket's executions.

    Each may be made again after a lost reply: the second time it is told what the first one did.

    Args:
        pipeline: the connection.
        keys: of the docket.
        execution_ttl: how long the record of an ended execution is kept; 0 keeps nothing.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys, execution_ttl: timedelta) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._ttl = delay_milliseconds(execution_ttl)

    async def claim(
        self, identity: RunIdentity, worker: str, content: Callable[[], Content]
    ) -> Held | None:
        """Mark an execution running. None: it is not there to be claimed."""
        entry = f"h{os.urandom(8).hex()}"
        reply = await self._call(
            scripts.CLAIM, identity, worker + _BY_HAND, entry, *_content(identity, content)
        )
        return Held(*reply[:4], entry=reply[4].decode()) if reply else None

    async def mark(
        self,
        identity: RunIdentity,
        state: Mark,
        error: str,
        result_key: str,
        content: Callable[[], Content],
    ) -> Marked | None:
        """End an execution. None: it is not the caller's to end."""
        reply = await self._call(
            scripts.MARK,
            identity,
            state,
            self._ttl,
            error,
            result_key,
            *_content(identity, content),
        )
        return Marked(*reply) if reply else None

    async def reschedule(
        self, identity: RunIdentity, when: int, attempt: int, call: bytes
    ) -> Rescheduled:
        """Give up the run of an entry, and let the execution wait again."""
        token = os.urandom(8).hex()
        reply = await self._call(
            scripts.RESCHEDULE, identity, when, attempt, call, token, self._ttl
        )
        disposition, generation, when, state = reply
        return Rescheduled(disposition.decode(), generation, when, state.decode())

    async def generation(self, key: str) -> int:
        """The newest generation of a key; 0 if there is no record."""
        found: bytes | None = await retry(
            lambda: self._pipeline.command(
                "HGET", self._keys.record(key), "generation", patience_seconds=PATIENCE_SECONDS
            )
        )
        return int(found or 0)

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
    # Only what has no generation yet may have to be written: all else is in its record.
    return () if identity.generation else content()
