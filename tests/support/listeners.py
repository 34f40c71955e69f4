"""Clients that subscribe by themselves, and the messages that a server has published."""

from collections.abc import Iterable
from typing import Any

from docket.store.keys import Keys
from tests.support.servers import Process


class Listener:
    """A client of somebody's own, of one server, without anything of docket.

    Args:
        process: the server.
        channels: the channels to subscribe to.
        pattern: the pattern to subscribe to.
    """

    def __init__(self, process: Process, channels: Iterable[str] = (), pattern: str = "") -> None:
        self._subscription: Any = process.client.pubsub()
        if pattern:
            self._subscription.psubscribe(pattern)
        for channel in channels:
            self._subscription.subscribe(channel)
        self.take()

    def take(self) -> list[tuple[str, str]]:
        """Return the messages since the last time: channel and payload."""
        # Its answer comes behind everything that was published before it was asked.
        self._subscription.ping("seen")
        messages: list[tuple[str, str]] = []
        while (message := self._subscription.get_message(timeout=5))["type"] != "pong":
            if message["type"] in {"message", "pmessage"}:
                messages.append((message["channel"], message["data"]))
        return messages

    def states(self, keys: Keys) -> list[tuple[str, str]]:
        """Return the events of states among them: key and state."""
        start = keys.state_channel("")
        return [
            (channel.removeprefix(start), data.partition("\x1f")[0])
            for channel, data in self.take()
            if channel.startswith(start)
        ]

    def close(self) -> None:
        """Leave."""
        self._subscription.close()


def calls(process: Process, *commands: str) -> int:
    """Count how often clients and scripts have called one of these commands."""
    statistics = process.client.info("commandstats")
    return sum(statistics.get(f"cmdstat_{name}", {}).get("calls", 0) for name in commands)


def published(process: Process) -> int:
    """The number of messages that a server has published, heard or not."""
    return calls(process, "publish", "spublish")
