"""Keys of a docket that were overwritten with a value of another type."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from redis.exceptions import ResponseError

from docket.errors import NotPermitted
from docket.store import scripts
from docket.store.connection.pipeline import Argument, Pipeline
from docket.store.keys import Keys
from docket_display.printable import decoded

logger = logging.getLogger("docket.store")


def log_overwritten(found: Sequence[bytes]) -> None:
    """Log the overwritten keys that a script found and skipped.

    Args:
        found: the name and type of each, flat, as _records.lua collects them.
    """
    for name, kind in zip(found[::2], found[1::2], strict=True):
        logger.error(
            "%s was overwritten by somebody with a %s: what the docket had there is lost and left "
            "out, all else goes on. Remove that key to use its name again",
            decoded(name),
            kind.decode(),
        )


def is_of_another_type(error: BaseException) -> bool:
    """Return whether a reply says that a key has another type than the call needs."""
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


def setting_aside(
    keys: Keys, consumer: str | None = None, functions: Iterable[str] = ()
) -> tuple[list[str], list[str]]:
    """Make KEYS and ARGV of set_aside.lua: every key without which no work can go on.

    Args:
        keys: those of the docket.
        consumer: the consumer whose own keys are among them.
        functions: the functions that it can run.
    """
    types = {
        **dict.fromkeys(keys.places[:3], "stream"),
        keys.queue: "zset",
        keys.wakeup: "list",
        keys.workers: "zset",
        keys.epochs: "hash",
        keys.leases: "hash",
        keys.watch: "string",
        keys.pauses: "hash",
    }
    if consumer is not None:
        types[keys.worker_tasks(consumer)] = "set"
    types.update((keys.task_workers(name), "set") for name in functions)
    return list(types), [keys.prefix, *types.values()]


def log_set_aside(found: Sequence[bytes], keys: Keys) -> None:
    """Log the keys that set_aside.lua has given another name; `found` as it returns them."""
    for name, kind in zip(found[::2], found[1::2], strict=True):
        shown = decoded(name)
        logger.error(
            "%s was overwritten by somebody with a %s: what the docket had there is lost. The %s "
            "is called %s:set-aside%s now, and the docket goes on without it",
            shown,
            kind.decode(),
            kind.decode(),
            keys.prefix,
            shown.removeprefix(keys.prefix),
        )


class MendingPipeline:
    """A pipeline whose calls go on although somebody overwrote a key that all work needs.

    Args:
        pipeline: the connection.
        keys: those of the docket.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def call(
        self,
        script: scripts.Script,
        keys: Sequence[Argument],
        arguments: Sequence[Argument],
        *,
        patience_seconds: float | None = None,
        consumer: str | None = None,
        functions: Iterable[str] = (),
    ) -> Any:
        """Run a script; see Pipeline.call. `consumer` and `functions` as for `setting_aside`."""
        try:
            return await self._pipeline.call(
                script, keys, arguments, patience_seconds=patience_seconds
            )
        except ResponseError as error:
            if not await self.set_aside(error, consumer, functions):
                raise
        return await self._pipeline.call(script, keys, arguments, patience_seconds=patience_seconds)

    async def command(self, *command: Argument, patience_seconds: float | None = None) -> Any:
        """Run a plain command; see Pipeline.command."""
        try:
            return await self._pipeline.command(*command, patience_seconds=patience_seconds)
        except ResponseError as error:
            if not await self.set_aside(error):
                raise
        return await self._pipeline.command(*command, patience_seconds=patience_seconds)

    async def set_aside(
        self, error: ResponseError, consumer: str | None = None, functions: Iterable[str] = ()
    ) -> bool:
        """Give the keys that caused an error other names; False if it has another cause."""
        if not is_of_another_type(error):
            return False
        names, arguments = setting_aside(self._keys, consumer, functions)
        try:
            found = await self._pipeline.call(scripts.SET_ASIDE, names, arguments)
        except NotPermitted:
            return False  # A producer may not; a worker will.
        log_set_aside(found, self._keys)
        return True
