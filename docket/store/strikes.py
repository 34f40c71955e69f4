"""The stream of strike and restore instructions: any process appends to it, all follow it."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from redis.exceptions import ResponseError

from docket.errors import ServerUnavailable
from docket.loop_calls import occurs
from docket.store import scripts
from docket.store.connection.backoff import backoff_seconds
from docket.store.connection.connections import Connections
from docket.store.connection.retrying import PATIENCE_SECONDS, retry
from docket.store.keys import Keys

logger = logging.getLogger("docket.store")

#: Interval at which the stream is read without a message, in seconds: pub/sub may lose it.
RECHECK_SECONDS = 5.0
#: Instructions read in one call.
PAGE = 1000
#: Maximum number of entries removed by one call.
MAX_REMOVED = 100

#: One instruction, as stored.
Fields = dict[bytes, bytes]
#: The subject of an instruction, as stored: function, parameter, operator, value.
_Subject = tuple[bytes | None, ...]
#: Takes instructions in order; with True they replace all those taken before.
Take = Callable[[Sequence[Fields], bool], Awaitable[None]]


class StrikeStream:
    """The instructions of one docket.

    They need no connection of their own: a message on the process's subscriber announces that the
    stream has grown, and it is read through the pipeline.

    Only the newest instruction about each subject is kept: the process that issues it removes the
    earlier ones that it has read. So the length of the stream, and the time to read it at the
    start, depend on the number of subjects and not on the number of instructions.

    Args:
        connections: the connections of the process.
        keys: the keys of the docket.
    """

    def __init__(self, connections: Connections, keys: Keys) -> None:
        self._pipeline = connections.pipeline
        self._subscriber = connections.subscriber
        self._key = keys.strikes
        self._channel = keys.strikes_channel
        self._position: bytes = b"0-0"
        self._disruptions = 0
        self._grown = asyncio.Event()
        # How often a reading from the beginning was wanted, and which of these was the last done.
        self._wanted, self._done = 1, 0
        #: The error of the last attempt to read them, if it failed.
        self.failure: Exception | None = None
        #: Whether the server has answered the attempt to read them that is under way.
        self.has_answered = False
        self._newest: dict[_Subject, bytes] = {}
        # Bounded: a process that issues nothing removes nothing, and must not collect for ever.
        self._obsolete: deque[bytes] = deque(maxlen=PAGE)

    async def append(self, fields: Mapping[bytes, bytes]) -> None:
        """Append an instruction; repeating it after a lost reply changes nothing.

        Raises:
            ServerUnavailable: the server was away for PATIENCE_SECONDS.
        """
        flat = [part for pair in fields.items() for part in pair]
        obsolete = self._made_obsolete(_subject(fields))
        await retry(
            lambda: self._pipeline.call(
                scripts.STRIKE,
                [self._key],
                [self._channel, len(obsolete), *obsolete, *flat],
                patience_seconds=PATIENCE_SECONDS,
            )
        )

    async def entries(self) -> list[tuple[bytes, Fields]]:
        """Read id and fields of every instruction that is kept, in order, page by page.

        Raises:
            ServerUnavailable: the server was away for PATIENCE_SECONDS.
        """
        return (await retry(lambda: self._entries_after(None)))[0]

    async def follow(self, take: Take) -> None:
        """Pass on the existing instructions, and from then on new ones, until cancelled.

        They are read before the subscription too, so that they are known one round trip after the
        connection is up.
        """
        await self._read_patiently(take)
        async with self._subscriber.listening(self._channel, lambda _: self._grown.set()):
            while True:
                self._grown.clear()
                await self._read_patiently(take)
                await occurs(self._grown, RECHECK_SECONDS)

    def read_anew(self) -> None:
        """Let `follow` pass on all instructions again."""
        self._wanted += 1
        self._grown.set()

    async def _read_patiently(self, take: Take) -> None:
        failures = 0
        while True:
            try:
                await self._read(take)
                self.failure = None
                return
            except (ServerUnavailable, ResponseError) as error:
                self.failure, self.has_answered = error, False
                failures += 1
                # A broken connection is logged by the pipeline.
                if failures == 1 and self._pipeline.is_connected:
                    logger.warning(
                        "Strikes cannot be read (%s): those known here stay in effect, and they "
                        "are read again until it works",
                        error,
                    )
                await asyncio.sleep(backoff_seconds(failures))

    async def _read(self, take: Take) -> None:
        await self._pipeline.connected()
        # After a disruption the server may be another one, or have lost its last second: the
        # instructions read before may no longer exist.
        disruptions = self._pipeline.disruptions
        wanted = self._wanted
        is_anew = wanted != self._done or disruptions != self._disruptions
        position: bytes | None = None if is_anew else self._position
        entries, position = await self._entries_after(position)
        self._position, self._disruptions = position or b"0-0", disruptions
        self._done = wanted
        self._note(entries, is_anew)
        if entries or is_anew:
            await take([fields for _, fields in entries], is_anew)

    async def _entries_after(
        self, position: bytes | None
    ) -> tuple[list[tuple[bytes, Fields]], bytes | None]:
        """Read what follows a position; None is the beginning. Returns the new position too."""
        entries: list[tuple[bytes, Fields]] = []
        while True:
            start = b"-" if position is None else b"(" + position
            page: list[Any] = await self._pipeline.command(
                "XRANGE", self._key, start, "+", "COUNT", PAGE
            )
            self.has_answered = True
            entries.extend((e, dict(zip(flat[::2], flat[1::2], strict=True))) for e, flat in page)
            position = page[-1][0] if page else position
            if len(page) < PAGE:
                return entries, position

    def _note(self, entries: Sequence[tuple[bytes, Fields]], is_anew: bool) -> None:
        # Only after a complete read: if a page is read twice, the newest entries of the first time
        # would count as older than those of the second, and be removed.
        if is_anew:
            self._newest.clear()
            self._obsolete.clear()
        for entry, fields in entries:
            subject = _subject(fields)
            if (before := self._newest.get(subject)) is not None:
                self._obsolete.append(before)
            self._newest[subject] = entry

    def _made_obsolete(self, subject: _Subject) -> list[bytes]:
        """Return the entries that a new instruction about `subject` makes obsolete."""
        if self._disruptions != self._pipeline.disruptions:
            return []  # The entries may be from a server that has been replaced.
        newest = self._newest.get(subject)
        obsolete = [] if newest is None else [newest]
        while self._obsolete and len(obsolete) < MAX_REMOVED:
            obsolete.append(self._obsolete.popleft())
        return obsolete


def _subject(fields: Mapping[bytes, bytes]) -> _Subject:
    # All but the direction, as bytes: 1 and 1.0 are equal to a strike but two subjects here, which
    # keep their order in the stream.
    return tuple(fields.get(name) for name in (b"function", b"parameter", b"operator", b"value"))
