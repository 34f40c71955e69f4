"""Strikes: conditions under which tasks are neither scheduled nor run, shared by all processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from docket.errors import ConnectionClosed, UnfitValue
from docket.serialization.serializers import serializer_named
from docket.store.connection.connections import Connections
from docket.store.connection.urls import validate_url
from docket.store.keys import Keys
from docket.store.strikes import Fields, StrikeStream
from docket.strike_rules import (
    LiteralOperator,
    Operator,
    Restore,
    Strike,
    StrikeInstruction,
    StrikeRecord,
    from_message,
    is_pickled,
    records,
)
from docket.strike_table import MAX_COLLIDING, MAX_COMPARED, StrikeTable

if TYPE_CHECKING:
    from redis.credentials import CredentialProvider

    from docket.execution import Execution

__all__ = [
    "LiteralOperator",
    "Operator",
    "Restore",
    "Strike",
    "StrikeInstruction",
    "StrikeList",
]

logger = logging.getLogger("docket.strikelist")

#: Longest wait of `connect` for the existing strikes, in seconds.
LOAD_PATIENCE_SECONDS = 1.0
#: Instructions that cannot be read are told of one by one up to so many at a time, then their sum.
UNREAD_TOLD = 10
#: Instructions, and bytes of them, that are read before the event loop has its turn.
PART, PART_BYTES = 200, 65_536

Condition: TypeAlias = "Callable[[Execution], bool]"


class StrikeList:
    """The strikes in effect, kept up to date while connected.

    With a URL, an async context manager (or `connect` and `close`) that follows the strikes of the
    docket called `name`, as issued by any process. Without one, a local list that `update` fills.

    Example:
        async with StrikeList(url="redis://localhost:6379/0", name="orders") as strikes:
            if strikes.is_stricken({"customer_id": "blocked"}):
                ...

    Args:
        url: the URL of the server, as for a Docket; None for a local list.
        name: the name of the docket.
        enable_internal_instrumentation: trace internal calls too.
        credential_provider: redis-py's, called at every connect.
        serializer: the docket's. With "pickle", a value of a class of your own can be struck; only
            workers read it, since reading a pickle runs whatever its writer put there. With
            "msgpack" such a value is refused.

    Attributes:
        is_empty: True if nothing can be stricken; hot paths check it first.

    Raises:
        ValueError: a name, URL or serializer that cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        name: str = "strikelist",
        enable_internal_instrumentation: bool = False,
        credential_provider: CredentialProvider | None = None,
        serializer: Literal["pickle", "msgpack"] = "pickle",
    ) -> None:
        serializer_named(serializer)
        if url is not None:
            validate_url(url, has_provider=credential_provider is not None)
        self.url = url
        self.name = name
        self.enable_internal_instrumentation = enable_internal_instrumentation
        self._keys = Keys(name)
        self._credential_provider = credential_provider
        self._table = StrikeTable()
        self._conditions: list[Condition] = []
        self._connections: Connections | None = None
        self._stream: StrikeStream | None = None
        self._follower: asyncio.Task[None] | None = None
        self._loaded = asyncio.Event()
        self.is_empty = True
        self._may_pickle = serializer == "pickle"
        self._reads_pickles = False
        self._has_left_pickles = False
        #: Values that this process has pickled itself: known again without reading the pickle.
        self._own_pickles: dict[bytes, Hashable] = {}

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def prefix(self) -> str:
        """The prefix of the keys of the docket."""
        return self._keys.prefix

    @property
    def strike_key(self) -> str:
        """The stream of the instructions."""
        return self._keys.strikes

    @property
    def in_effect(self) -> int:
        """The number of strikes in effect."""
        return len(self._table)

    @property
    def is_loaded(self) -> bool:
        """Return True if the existing strikes have been read; always True for a local list."""
        return self._follower is None or self._loaded.is_set()

    # Connection ---------------------------------------------------------------------------

    async def connect(self) -> None:
        """Follow the strikes of the docket; the existing ones are in effect when it returns.

        If the server does not answer within LOAD_PATIENCE_SECONDS they are read once it does, and
        `wait_for_strikes_loaded` waits for that. Does nothing without a URL, or if already
        connected.
        """
        await self.follow()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOAD_PATIENCE_SECONDS):
                    await self.wait_for_strikes_loaded()
            # The patience is for the server: what it sent is applied, however busy we are.
            if self.is_loaded or self._stream is None or not self._stream.has_answered:
                return

    async def follow(self) -> None:
        """Connect without waiting for the server."""
        if self.url is None or self._connections is not None:
            return
        self._connections = await Connections.acquire(
            self.url, self._credential_provider, keys=self._keys
        )
        self._stream = StrikeStream(self._connections, self._keys)
        self._follower = asyncio.create_task(self._stream.follow(self._take), name="docket strikes")
        self._follower.add_done_callback(_log_fault)

    async def close(self) -> None:
        """Stop following; known strikes stay in effect here. Idempotent."""
        follower, connections = self._follower, self._connections
        if connections is not None:
            connections.pipeline.owner.check()
        self._follower = self._connections = self._stream = None
        # Wakes the waiters, since no strikes will come; the next connection starts afresh.
        self._loaded.set()
        self._loaded = asyncio.Event()
        if follower is not None:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
        if connections is not None:
            await connections.release()

    @property
    def unread(self) -> str:
        """The reason, for people, why the strikes are not loaded."""
        failure = None if self._stream is None else self._stream.failure
        return "the strikes are not loaded yet" + (f": {failure}" if failure else "")

    async def wait_for_strikes_loaded(self) -> None:
        """Wait until the existing strikes are in effect here; return at once if not connected."""
        if self._connections is not None:
            self._connections.pipeline.owner.check()
        if not self.is_loaded:
            await self._loaded.wait()

    def read_pickles(self) -> None:
        """Read the values that only pickle can store too, unless the serializer is msgpack.

        For a worker, which runs whatever the writers of its docket want in any case. Strikes that
        were left out before are read now; `wait_for_strikes_loaded` waits for them.
        """
        if self._reads_pickles or not self._may_pickle:
            return
        self._reads_pickles = True
        if self._has_left_pickles and self._stream is not None:
            self._loaded.clear()
            self._stream.read_anew()

    # Instructions -------------------------------------------------------------------------

    async def strike(
        self,
        function: str | None = None,
        parameter: str | None = None,
        operator: Operator | LiteralOperator = "==",
        value: Hashable | None = None,
        *,
        reason: str | None = None,
        by: str | None = None,
    ) -> None:
        """Strike tasks: they are neither scheduled nor run until restored.

        Args:
            function: the name of the task; None for all tasks.
            parameter: the parameter to compare; None for every call.
            operator: the comparison of its argument with `value`.
            value: the value to compare with; for "between" a pair, bounds included.
            reason: the reason, for `Docket.strikes`; at most 1,000 characters.
            by: its author, likewise.

        Raises:
            ValueError: there is no such operator, or a remark is too long.
            RuntimeError: not connected.
            ServerUnavailable: the server is away.
        """
        await self.send_instruction(
            Strike(function, parameter, Operator(operator), value, reason=reason, by=by)
        )

    async def restore(
        self,
        function: str | None = None,
        parameter: str | None = None,
        operator: Operator | LiteralOperator = "==",
        value: Hashable | None = None,
        *,
        reason: str | None = None,
        by: str | None = None,
    ) -> None:
        """Take back the strike that was issued with these arguments; raises as `strike` does."""
        await self.send_instruction(
            Restore(function, parameter, Operator(operator), value, reason=reason, by=by)
        )

    async def send_instruction(self, instruction: StrikeInstruction) -> None:
        """Issue an instruction; it is in effect here on return, and elsewhere within a second.

        Raises:
            RuntimeError: not connected.
            ServerUnavailable: the server is away.
            UnfitValue: only pickle could store the value, and the serializer is msgpack; or the
                strike would have no effect, as there are too many like it.
            PayloadTooLarge: the value is over the size limit.
        """
        if self._stream is None:
            raise RuntimeError(
                "Cannot send strike instruction: not connected to Redis. "
                "Use connect() or async context manager first."
            )
        if not instruction.is_storable():
            return
        self._check_effect(instruction)
        message = instruction.as_message(may_pickle=self._may_pickle)
        if is_pickled(message):
            self._own_pickles[message[b"value"]] = instruction.value
        await self._stream.append(message)
        self._apply(instruction, is_shared=True)

    async def records(self) -> list[StrikeRecord]:
        """List the strikes of the docket, read from the server, the last one issued last.

        Raises:
            RuntimeError: not connected.
            ServerUnavailable: the server is away.
        """
        if self._stream is None:
            raise RuntimeError("Cannot list strikes: not connected to Redis. Use connect() first.")
        return records(await self._stream.entries(), self._read)

    def _read(
        self, message: Mapping[bytes, bytes], level: int = logging.DEBUG
    ) -> StrikeInstruction | None:
        return from_message(
            message,
            may_unpickle=self._reads_pickles,
            own_pickles=self._own_pickles,
            level=level,
        )

    def _check_effect(self, instruction: StrikeInstruction) -> None:
        refusal = self._table.refusal(instruction.rule)
        if refusal is not None and isinstance(instruction, Strike):
            raise UnfitValue(
                f"{instruction} would have no effect, and is not stored: {refusal.value}"
            )

    def update(self, instruction: StrikeInstruction) -> None:
        """Apply an instruction in this process only."""
        if instruction.is_storable():
            self._apply(instruction, is_shared=False)

    def add_condition(self, condition: Condition) -> None:
        """Strike here every execution for which `condition` returns true, until it is removed."""
        self._conditions.append(condition)
        self._note_change()

    def remove_condition(self, condition: Condition) -> None:
        """Remove a condition. Raises ValueError if it was not added."""
        self._conditions.remove(condition)
        self._note_change()

    def is_stricken(self, target: Execution | Mapping[str, Any]) -> bool:
        """Return whether a strike applies.

        Args:
            target: an execution; or values by parameter, to which only strikes of all tasks apply.
        """
        if isinstance(target, Mapping):
            return self._table.strikes_values(target)
        if any(condition(target) for condition in self._conditions):
            return True
        return self._table.strikes_call(
            target.function_name, target.function, target.args, target.kwargs
        )

    async def _take(self, messages: Sequence[Fields], is_anew: bool) -> None:
        """Apply the instructions from the stream, in parts: there may be very many."""
        unread, refused = 0, self._table.refused
        if is_anew:
            self._table.begin_reload()
        for part in _parts(messages):
            instructions, unread = self._read_part(part, unread)
            if is_anew:
                self._table.load(instructions)
            else:
                for instruction in instructions:
                    self._apply(instruction, is_shared=True)
            await asyncio.sleep(0)
        if is_anew:
            self._table.end_reload()
            self._note_change()
            self._loaded.set()
        if unread > UNREAD_TOLD:
            logger.warning("%d more strike instructions cannot be read", unread - UNREAD_TOLD)
        if self._table.refused > refused:
            logger.warning(
                "%d strikes have no effect in this process: the hashes of their values collide "
                "with those of %d others, or there are more than %d by other operators than ==",
                self._table.refused - refused,
                MAX_COLLIDING,
                MAX_COMPARED,
            )

    def _read_part(
        self, messages: Sequence[Fields], unread: int
    ) -> tuple[list[StrikeInstruction], int]:
        """Return the instructions, and how many messages could not be read, with those before."""
        instructions: list[StrikeInstruction] = []
        for message in messages:
            if self._leaves(message):
                continue
            level = logging.WARNING if unread < UNREAD_TOLD else logging.DEBUG
            instruction = self._read(message, level)
            if instruction is None:
                unread += 1
            else:
                instructions.append(instruction)
        return instructions, unread

    def _leaves(self, message: Fields) -> bool:
        """Return whether the message is left to the workers: its value is a pickle of others."""
        is_left = is_pickled(message) and message[b"value"] not in self._own_pickles
        if not is_left or not self._may_pickle or self._reads_pickles:
            return False
        if not self._has_left_pickles:
            logger.info("Strikes whose values are pickles are left to the workers")
        self._has_left_pickles = True
        return True

    def _apply(self, instruction: StrikeInstruction, *, is_shared: bool) -> None:
        if self._table.apply(instruction, is_shared=is_shared):
            logger.info("%s", instruction)
        self._note_change()

    def _note_change(self) -> None:
        self.is_empty = not self._conditions and not self._table


def _parts(messages: Sequence[Fields]) -> Generator[Sequence[Fields]]:
    """Cut messages into parts that are read without a pause: by their number and their size."""
    start = size = 0
    for i, message in enumerate(messages):
        size += sum(map(len, message.values()))
        if i + 1 - start >= PART or size >= PART_BYTES:
            yield messages[start : i + 1]
            start, size = i + 1, 0
    yield messages[start:]


def _log_fault(follower: asyncio.Task[None]) -> None:
    error = None if follower.cancelled() else follower.exception()
    if error is not None and not isinstance(error, ConnectionClosed):
        logger.error("Strikes are not followed any more in this process", exc_info=error)
