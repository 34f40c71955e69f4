"""What a docket is before anything is scheduled on it: a name, a server, keys, connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from docket.errors import DocketError
from docket.execution.results import ResultStorage
from docket.instrumentation.process_registry import PROCESS_REGISTRY
from docket.registry import Registry
from docket.serialization.serializers import Serializer, serializer_named
from docket.store.connection.connections import Connections
from docket.store.connection.urls import validate_url, without_password
from docket.store.keys import Keys
from docket.store.traced_transitions import TracedTransitions
from docket.store.transitions import Transitions
from docket.strikelist import StrikeList

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.credentials import CredentialProvider


class DocketBase(Registry):
    """Settings, registered tasks and, while it is open, connections; see Docket."""

    def __init__(
        self,
        name: str = "docket",
        url: str = "redis://localhost:6379/0",
        heartbeat_interval: timedelta = timedelta(seconds=2),
        missed_heartbeats: int = 5,
        execution_ttl: timedelta = timedelta(minutes=15),
        result_storage: ResultStorage | None = None,
        enable_internal_instrumentation: bool = False,
        credential_provider: CredentialProvider | None = None,
        serializer: Literal["pickle", "msgpack"] = "pickle",
    ) -> None:
        super().__init__()
        validate_url(url)
        if heartbeat_interval <= timedelta(0) or missed_heartbeats < 1:
            raise ValueError(
                "heartbeat_interval and missed_heartbeats must be positive, not "
                f"{heartbeat_interval} and {missed_heartbeats}"
            )
        if execution_ttl < timedelta(0):
            raise ValueError(f"execution_ttl must not be negative, but is {execution_ttl}")
        self.name = name
        self.url = url
        self.heartbeat_interval = heartbeat_interval
        self.missed_heartbeats = missed_heartbeats
        self.execution_ttl = execution_ttl
        self.result_storage = result_storage
        self.enable_internal_instrumentation = enable_internal_instrumentation
        #: How payloads are stored.
        self.serializer: Serializer = serializer_named(serializer)
        #: Every key of this docket.
        self.keys = Keys(name)
        #: What this process asks of the docket, counted.
        self.producer = PROCESS_REGISTRY.producer(name)
        #: The strikes in effect, followed while the docket is open.
        self.strike_list = StrikeList(
            url, name, enable_internal_instrumentation, credential_provider
        )
        self.strike_list.reads_pickles = serializer == "pickle"
        self._credential_provider = credential_provider
        self._connections: Connections | None = None
        self._records: Transitions | None = None

    def __repr__(self) -> str:
        return f"<Docket {self.name!r} on {without_password(self.url)}>"

    async def __aenter__(self) -> Self:
        if self._connections is not None:
            raise DocketError(f"{self!r} is open already: one `async with` at a time")
        self._connections = await Connections.acquire(
            self.url, self._credential_provider, keys=self.keys
        )
        records = TracedTransitions if self.enable_internal_instrumentation else Transitions
        self._records = records(self._connections.pipeline, self.keys, self.execution_ttl)
        await self.strike_list.follow()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        connections, self._connections, self._records = self._connections, None, None
        await self.strike_list.close()
        if connections is not None:
            await connections.release()

    @property
    def connections(self) -> Connections:
        """The process's connections to the server. Raises DocketError outside `async with`."""
        if self._connections is None:
            raise DocketError(f"{self!r} is not open: use it inside `async with`")
        return self._connections

    @property
    def transitions(self) -> Transitions:
        """The transitions of this docket. Raises DocketError outside `async with`."""
        if self._records is None:
            raise DocketError(f"{self!r} is not open: use it inside `async with`")
        return self._records

    def traced_transitions(self) -> TracedTransitions:
        """The transitions, with a span around each internal call."""
        return TracedTransitions(self.connections.pipeline, self.keys, self.execution_ttl)

    @property
    def prefix(self) -> str:
        """What every key of this docket begins with."""
        return self.keys.prefix

    def key(self, suffix: str) -> str:
        """A key of this docket."""
        return self.keys.key(suffix)

    def runs_key(self, key: str) -> str:
        """The Redis key of a task's record."""
        return self.keys.record(key)

    @property
    def stream_key(self) -> str:
        """The Redis key of the stream of tasks that are ready."""
        return self.keys.stream

    @property
    def queue_key(self) -> str:
        """The Redis key of the sorted set of tasks that are scheduled for later."""
        return self.keys.queue

    @property
    def workers_set(self) -> str:
        """The Redis key of the sorted set of workers."""
        return self.keys.workers

    @asynccontextmanager
    async def redis(self) -> AsyncGenerator[Redis]:
        """redis-py's client for the docket's server, for what you do there yourself.

        It is the docket's own: do not close it.
        """
        yield self.connections.client()
