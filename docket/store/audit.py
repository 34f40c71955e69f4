"""The log of acts of operators: a list of JSON on the server, the newest first, bounded."""

from collections.abc import Sequence
from typing import Any

from docket.errors import RefusedCall
from docket.store.connection.pipeline import Argument, Pipeline
from docket.store.connection.retrying import PATIENCE_SECONDS, retry
from docket.store.keys import Keys
from docket.store.overwritten_keys import is_of_another_type, log_overwritten

#: Acts that are kept; the oldest give way.
MOST_ACTS = 10_000


class AuditStore:
    """The log of one docket.

    Args:
        pipeline: the connection.
        keys: those of the docket.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = pipeline
        self._key = keys.audit

    async def append(self, row: bytes) -> None:
        """Add a row. After a lost reply it is added again: readers know it by its identity.

        Raises:
            ServerUnavailable: the server was away for PATIENCE_SECONDS.
        """
        await self._command("LPUSH", self._key, row)
        await self._command("LTRIM", self._key, 0, MOST_ACTS - 1)

    async def newest(self, first: int, count: int) -> Sequence[bytes]:
        """Read rows, the newest first, from the one at `first` on; none of an overwritten key."""
        try:
            return await self._command("LRANGE", self._key, first, first + count - 1)
        except RefusedCall as error:
            if not is_of_another_type(error):
                raise
            log_overwritten((self._key.encode(), await self._command("TYPE", self._key)))
            return ()

    async def microseconds(self) -> int:
        """Ask for the server's time."""
        seconds, microseconds = await self._command("TIME")
        return int(seconds) * 1_000_000 + int(microseconds)

    async def _command(self, *words: Argument) -> Any:
        return await retry(
            lambda: self._pipeline.command(*words, patience_seconds=PATIENCE_SECONDS)
        )
