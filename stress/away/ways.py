"""The ways in which a server can be away."""

import signal
from collections.abc import Awaitable, Callable
from enum import StrEnum

from stress.chaos.network import Network
from stress.chaos.server import Server


class Way(StrEnum):
    """How it goes. Its data is there again when it is back."""

    KILL = "kill"
    """kill -9, and started again on what it had written."""
    STOP = "stop"
    """SIGSTOP: every connection stands, and nobody answers."""
    REFUSE = "refuse"
    """A network that refuses connections, the old ones cut."""

    @property
    def least_seconds(self) -> float:
        """What is over sooner may be over before the pool calls it away."""
        return 13.0 if self is Way.STOP else 2.0


def taking(way: Way, server: Server, network: Network) -> Callable[[], Awaitable[None]]:
    """What takes the server away; returns when it is gone."""

    async def stop() -> None:
        server.send(signal.SIGSTOP)

    return {
        Way.KILL: lambda: server.end(signal.SIGKILL),
        Way.STOP: stop,
        Way.REFUSE: network.refuse,
    }[way]


def giving_back(way: Way, server: Server, network: Network) -> Callable[[], Awaitable[None]]:
    """What brings it back; returns when it answers PING where the workers look for it."""

    async def resume() -> None:
        server.send(signal.SIGCONT)
        await server.answers()

    return {Way.KILL: server.start, Way.STOP: resume, Way.REFUSE: network.open}[way]
