"""The pauses of a docket: what no worker claims for the time being."""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from docket.store import scripts
from docket.store.connection.pipeline import Pipeline
from docket.store.connection.retrying import PATIENCE_SECONDS, retry
from docket.store.keys import Keys
from docket.store.overwritten_keys import MendingPipeline, log_overwritten

#: Most pauses of one docket: they are read as a whole.
MAX_PAUSES = 1000
#: Tasks brought back in one call: a few milliseconds of the server's.
BATCH = 64
#: How long the answer to a request is kept (ms): one that a network has held up comes before.
_REMEMBERED = 600_000


class PauseRow(NamedTuple):
    """A pause as it is stored; instants in server microseconds, "" for no reason and nobody."""

    since: int
    until: int | None
    reason: str
    by: str


class Paused(NamedTuple):
    """The answer to a pause: `past` and `full` changed nothing. replaced: the pause before it."""

    verdict: Literal["paused", "past", "full"]
    replaced: PauseRow | None


class Pauses:
    """Pause and resume the functions of one docket, or all of it.

    Args:
        pipeline: the connection.
        keys: of the docket.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = MendingPipeline(pipeline, keys)
        self._keys = keys

    async def pause(
        self,
        name: str,
        kind: Literal["at", "for"],
        end: int | None,
        reason: str,
        by: str,
        *,
        token: str,
    ) -> Paused:
        """Let nothing of a function be claimed any more.

        Args:
            name: the name of the function; "" for the whole docket.
            kind: of `end`: the instant, or the time from now by the server's clock.
            end: in microseconds; None for no end.
            reason: "" for none.
            by: its author; "" for none.
            token: names the request, which changes nothing when it arrives once more.
        """
        ends = "" if end is None else end
        verdict, before = await self._call(
            scripts.PAUSE, token, [name, ends, kind, reason, by, MAX_PAUSES, _REMEMBERED]
        )
        return Paused(verdict.decode(), _row(before) if before else None)

    async def resume(self, name: str, *, token: str, batch: int = BATCH) -> bool:
        """End a pause, and bring back in order what it has parked, a batch a call.

        Args:
            name: the name of the function; "" for the whole docket.
            token: names the request, which ends no other pause when it arrives once more.
            batch: the number of tasks a call.

        Returns:
            True if there was a pause.
        """
        was_paused, more = False, True
        while more:
            was_paused, more, broken = await self._call(
                scripts.RESUME, token, [name, batch, _REMEMBERED]
            )
            log_overwritten(broken)
        return bool(was_paused)

    async def in_effect(self) -> dict[str, PauseRow]:
        """Read the pauses that hold now, by the name of the function; "" is the whole docket."""
        flat, (seconds, microseconds) = await asyncio.gather(
            retry(lambda: self._command("HGETALL", self._keys.pauses)),
            retry(lambda: self._command("TIME")),
        )
        now = int(seconds) * 1_000_000 + int(microseconds)
        rows = {
            name.decode(errors="backslashreplace"): _row(packed)
            for name, packed in zip(flat[::2], flat[1::2], strict=True)
        }
        return {
            name: row
            for name, row in rows.items()
            if row is not None and (row.until is None or row.until > now)
        }

    async def _call(
        self, script: scripts.Script, token: str, arguments: Sequence[str | int]
    ) -> Any:
        return await retry(
            lambda: self._pipeline.call(
                script,
                [*self._keys.places, self._keys.pauses, self._keys.asked(token)],
                [self._keys.prefix, *arguments],
                patience_seconds=PATIENCE_SECONDS,
            )
        )

    async def _command(self, *command: str) -> Any:
        return await self._pipeline.command(*command, patience_seconds=PATIENCE_SECONDS)


def _row(packed: bytes) -> PauseRow | None:
    """Read a stored pause; None for what is none of ours, which does not hold."""
    try:
        since, until, reason, by = msgspec.msgpack.decode(packed, type=tuple[str, str, str, str])
        return PauseRow(int(since), int(until) if until else None, reason, by)
    except ValueError:  # msgspec's own, too
        return None
