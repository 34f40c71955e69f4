"""The acts on many executions at once, a bounded number in each call."""

import os
from collections.abc import Sequence
from typing import Any

from docket.store import scripts
from docket.store.connection.pipeline import Argument, Pipeline
from docket.store.connection.retrying import PATIENCE_SECONDS, retry
from docket.store.keys import Keys
from docket.store.scripts import Script

#: Most executions in one call.
ACTS = 64
#: How long the answer to a request is kept (ms): one that a network has held up comes before.
_REMEMBERED = 600_000


class Acts:
    """Acts on executions of one docket by key. Each may be sent again after a lost reply.

    Args:
        pipeline: the connection.
        keys: those of the docket.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def retry(self, ended: Sequence[tuple[str, int | None]]) -> list[tuple[str, int]]:
        """Run executions again that have ended; see retry.lua.

        Args:
            ended: key and end (server microseconds; None for the last one of the key) of at most
                ACTS executions.

        Returns:
            For each the verdict of the script, and the generation of the new execution.
        """
        prefix = os.urandom(8).hex()
        values: list[Argument] = []
        for number, (key, at) in enumerate(ended):
            values += [key, f"{prefix}{number:x}", "" if at is None else at]
        flat = await self._call(scripts.RETRY, self._keys.places, values)
        return [(flat[i].decode(), flat[i + 1]) for i in range(0, len(flat), 2)]

    async def move(self, waiting: Sequence[tuple[str, int]], when: int | str | None) -> list[str]:
        """Give executions that wait another time; see move.lua.

        Args:
            waiting: key and generation (0 for any) of at most ACTS executions.
            when: their new time, in its stored form; None for now.

        Returns:
            For each the verdict of the script.
        """
        values: list[Argument] = ["" if when is None else when, _REMEMBERED]
        for identity in waiting:
            values += identity
        names = (*self._keys.places, self._keys.asked(os.urandom(16).hex()))
        return [verdict.decode() for verdict in await self._call(scripts.MOVE, names, values)]

    async def _call(
        self, script: Script, names: Sequence[str], values: Sequence[Argument]
    ) -> list[Any]:
        return await retry(
            lambda: self._pipeline.call(
                script, names, [self._keys.prefix, *values], patience_seconds=PATIENCE_SECONDS
            )
        )
