"""The lease connection: heartbeats and renewals over a blocking connection of the heartbeater."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from docket.clock import delay_milliseconds
from docket.store import scripts
from docket.store.connection.credentials import Login
from docket.store.connection.endpoint import Endpoint
from docket.store.keys import Keys
from docket.store.overwritten_keys import is_of_another_type, log_set_aside, setting_aside

#: A lease: key, entry and generation, as they were claimed.
Lease = tuple[bytes, bytes, bytes]


class LeaseConnection:
    """Heartbeats and lease renewals of one consumer.

    Used by one thread.

    Args:
        endpoint: the server.
        keys: the keys of the docket.
        loop: that of the docket, on which a credential provider is asked.
        timeout_seconds: limit of each read and write: the thread must not hang on a dead server.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        keys: Keys,
        loop: asyncio.AbstractEventLoop,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._endpoint = endpoint
        self._keys = keys
        self._timeout_seconds = timeout_seconds
        self._loop = loop
        # Any: redis-py leaves the types of a connection's methods open.
        self._connection: Any = None
        self._login: Login | None = None

    def beat(
        self,
        consumer: str,
        function_names: Sequence[str],
        lifetime: timedelta,
        report: bytes = b"",
    ) -> bool:
        """Write the consumer's heartbeat.

        Args:
            consumer: its name.
            function_names: the names of the tasks that it can run.
            lifetime: of its keys without a heartbeat.
            report: what it tells of its process; b"" if that is nothing new.

        Returns:
            True if it is still registered.

        Raises:
            ServerUnavailable: not written; the next heartbeat reconnects.
            NotPermitted: the server's user lacks the permission, now and later.
        """
        keys = [
            self._keys.workers,
            self._keys.epochs,
            self._keys.worker_info(consumer),
            self._keys.worker_tasks(consumer),
            *(self._keys.task_workers(name) for name in function_names),
        ]
        return self._call(scripts.BEAT, keys, [consumer, delay_milliseconds(lifetime), report]) == 1

    def renew(self, consumer: str, leases: Sequence[Lease]) -> tuple[list[bytes], list[bytes]]:
        """Renew leases.

        Returns:
            The entries that the consumer no longer owns, and those of cancelled tasks.

        Raises:
            ServerUnavailable: none or not all were renewed.
            NotPermitted: the server's user lacks the permission.
        """
        lost: list[bytes] = []
        cancelled: list[bytes] = []
        for start in range(0, len(leases), 256):
            flat = [part for lease in leases[start : start + 256] for part in lease]
            reply = self._call(
                scripts.RENEW, self._keys.places, [self._keys.prefix, consumer, *flat]
            )
            lost.extend(reply[0])
            cancelled.extend(reply[1])
        return lost, cancelled

    def authenticate(self, login: Login) -> None:
        """Authenticate an open connection before its next call; called on the loop."""
        self._login = login

    def close(self) -> None:
        """Disconnect. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def _call(self, script: scripts.Script, keys: Sequence[str], arguments: list[Any]) -> Any:
        try:
            connection = self._connection or self._connect()
            login, self._login = self._login, None
            if login is not None:
                self._ask(connection, ("AUTH", *login))
            call = (len(keys), *keys, *arguments)
            try:
                return self._ask(connection, ("EVALSHA", script.digest, *call))
            except NoScriptError:
                return self._ask(connection, ("EVAL", script.source, *call))
        except (RedisError, OSError) as error:
            if is_of_another_type(error):
                self._set_aside()
            self.close()
            raise self._endpoint.denied(script.name, error) or self._endpoint.unavailable(
                script.name, error
            ) from error

    def _set_aside(self) -> None:
        """Give overwritten keys other names; the next heartbeat finds them free."""
        names, arguments = setting_aside(self._keys)
        with suppress(RedisError, OSError):  # The workers' exchanges do it otherwise.
            call = ("EVAL", scripts.SET_ASIDE.source, len(names), *names, *arguments)
            log_set_aside(self._ask(self._connection, call), self._keys)

    def _connect(self) -> Any:
        self._login = None  # a new connection asks for the credentials itself
        connection: Any = self._endpoint.blocking_connection(self._timeout_seconds, self._loop)
        self._connection = connection
        connection.connect()
        return connection

    def _ask(self, connection: Any, command: tuple[Any, ...]) -> Any:
        connection.send_command(*command, check_health=False)
        return connection.read_response()
