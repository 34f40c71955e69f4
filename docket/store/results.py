"""Results on the docket's server, by the protocol of result storages: what open dockets have."""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from docket.store.connection.pipeline import Argument, Pipeline
from docket.store.connection.retrying import PATIENCE_SECONDS, retry
from docket.store.keys import Keys


class RecordedResults:
    """The result storage of a docket that was given none: the records of its tasks.

    Args:
        pipeline: the connection.
        keys: those of the docket.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def put(self, key: str, value: Mapping[str, Any], *, ttl: float | None = None) -> None:
        """Keep a result that a program puts away by itself; workers write into the records.

        Args:
            key: its name, for `Execution.mark_as_completed(result_key=...)`.
            value: JSON.
            ttl: seconds until it expires; None keeps it.
        """
        expiry = () if ttl is None else ("PX", max(1, round(ttl * 1000)))
        await self._command("SET", self._keys.result(key), msgspec.json.encode(value), *expiry)

    async def get(self, key: str) -> dict[str, Any] | None:
        """Return what was put under a key, or the payload in the record of the task of that key."""
        kept: bytes | None = await self._command("GET", self._keys.result(key))
        if kept is not None:
            return msgspec.json.decode(kept, type=dict[str, Any])
        payload: bytes | None = await self._command("HGET", self._keys.record(key), "result")
        return None if payload is None else storable(payload)

    async def _command(self, *command: Argument) -> Any:
        return await retry(
            lambda: self._pipeline.command(*command, patience_seconds=PATIENCE_SECONDS)
        )


def storable(payload: bytes) -> dict[str, Any]:
    """Wrap a payload for a result storage, which may support nothing but JSON."""
    return {"data": base64.b64encode(payload).decode()}
