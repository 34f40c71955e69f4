"""The stream of strike and restore instructions: appended to by anyone, followed by everyone."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import ResponseError

from docket.errors import ServerUnavailable
from docket.store import scripts
from docket.store.connection.connections import Connections
from docket.store.connection.endpoint import backoff_seconds
from docket.store.connection.retrying import PATIENCE_SECONDS, retry
from docket.store.keys import Keys

logger = logging.getLogger("docket.store")

#: How often the stream is read without being told to, in seconds: pub/sub may lose the message.
RECHECK_SECONDS = 5.0
#: Instructions read in one call.
PAGE = 1000
#: Entries removed by one call, at most.
NEEDLESS_A_CALL = 100

#: One instruction, as stored.
Fields = dict[bytes, bytes]
#: What an instruction is about, as stored: function, parameter, operator, value.
_Subject = tuple[bytes | None, ...]
#: Takes instructions in their order; True: these are all there are, whatever was taken before.
Take = Callable[[Sequence[Fields], bool], None]


class StrikeStream:
    """The instructions of one docket.

    Costs no connection of its own: a message on the process's subscriber says that the stream has
    grown, and it is read through the pipeline.

    Of the instructions about the same thing only the newest is kept: whoever issues it removes
    those before it that it has read. So the stream is as long as there are things that were ever
    struck, however often, and a start reads no more than that.

    Args:
        connections: of the process.
        keys: of the docket.
    """

    def __init__(self, connections: Connections, keys: Keys) -> None:
        self._pipeline = connections.pipeline
        self._subscriber = connections.subscriber
        self._key = keys.strikes
        self._channel = keys.strikes_channel
        self._position: bytes | None = None
        self._disruptions = 0
        #: Why they could not be read the last time.
        self.failure: Exception | None = None
        self._newest: dict[_Subject, bytes] = {}
        # Whoever issues nothing removes nothing, and must not remember for ever.
        self._needless: deque[bytes] = deque(maxlen=PAGE)

    async def append(self, fields: Mapping[bytes, bytes]) -> None:
        """Add an instruction; a second time, after a lost reply, it changes nothing.

        Raises:
            ServerUnavailable: the server stayed away for PATIENCE_SECONDS.
        """
        flat = [part for pair in fields.items() for part in pair]
        needless = self._made_needless(_subject(fields))
        await retry(
            lambda: self._pipeline.call(
                scripts.STRIKE,
                [self._key],
                [self._channel, len(needless), *needless, *flat],
                patience_seconds=PATIENCE_SECONDS,
            )
        )

    async def follow(self, take: Take) -> None:
        """Hand over what is there, and from then on what is added, until cancelled.

        Read before there is a subscription too: what is there is known one round trip after the
        connection stands.
        """
        await self._read_patiently(take)
        grown = asyncio.Event()
        async with self._subscriber.listening(self._channel, lambda _: grown.set()):
            while True:
                grown.clear()
                await self._read_patiently(take)
                # Not wait_for: before Python 3.12 it swallows a cancellation that comes with the
                # event, and a docket that is closed right after a strike never ended.
                with suppress(TimeoutError):
                    async with asyncio.timeout(RECHECK_SECONDS):
                        await grown.wait()

    async def _read_patiently(self, take: Take) -> None:
        failures = 0
        while True:
            try:
                await self._read(take)
                self.failure = None
                return
            except (ServerUnavailable, ResponseError) as error:
                self.failure = error
                failures += 1
                # That the connection broke is said by the pipeline.
                if failures == 1 and self._pipeline.is_connected:
                    logger.warning(
                        "Strikes cannot be read (%s): those known here stay in effect, and they "
                        "are read again until it works",
                        error,
                    )
                await asyncio.sleep(backoff_seconds(failures))

    async def _read(self, take: Take) -> None:
        await self._pipeline.connected()
        # Behind a connection that broke there may be another server, or one that forgot its last
        # second: what was read before may never have been.
        disruptions = self._pipeline.disruptions
        is_anew = self._position is None or disruptions != self._disruptions
        position = None if is_anew else self._position
        entries: list[tuple[bytes, Fields]] = []
        while True:
            start = b"-" if position is None else b"(" + position
            page: list[Any] = await self._pipeline.command(
                "XRANGE", self._key, start, "+", "COUNT", PAGE
            )
            entries.extend((e, dict(zip(flat[::2], flat[1::2], strict=True))) for e, flat in page)
            position = page[-1][0] if page else position
            if len(page) < PAGE:
                break
        self._position, self._disruptions = position or b"0-0", disruptions
        self._note(entries, is_anew)
        if entries or is_anew:
            take([fields for _, fields in entries], is_anew)

    def _note(self, entries: Sequence[tuple[bytes, Fields]], is_anew: bool) -> None:
        # Only what was read to its end: of a page that is read twice, the first time's newest would
        # count as older than the second time's, and be removed.
        if is_anew:
            self._newest.clear()
            self._needless.clear()
        for entry, fields in entries:
            subject = _subject(fields)
            if (before := self._newest.get(subject)) is not None:
                self._needless.append(before)
            self._newest[subject] = entry

    def _made_needless(self, subject: _Subject) -> list[bytes]:
        """Entries that say nothing any more once there is another one about `subject`."""
        if self._disruptions != self._pipeline.disruptions:
            return []  # What was read may be of a server that another one has replaced.
        newest = self._newest.get(subject)
        needless = [] if newest is None else [newest]
        while self._needless and len(needless) < NEEDLESS_A_CALL:
            needless.append(self._needless.popleft())
        return needless


def _subject(fields: Mapping[bytes, bytes]) -> _Subject:
    # All but the direction, as bytes: 1 and 1.0 are the same to a strike, and two subjects here,
    # whose order in the stream stays what it was.
    return tuple(fields.get(name) for name in (b"function", b"parameter", b"operator", b"value"))
