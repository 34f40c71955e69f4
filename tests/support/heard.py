"""What a docket publishes, heard by one who subscribed before it began."""

from collections.abc import Callable
from typing import Any

from tests.support.model.values import Event

Tick = Callable[[str], int | None]


class Heard:
    """Listens to every channel of a docket.

    Args:
        client: redis-py's, blocking and decoding.
        prefix: of the docket's keys and channels.
    """

    def __init__(self, client: Any, prefix: str) -> None:
        self._prefix = prefix + ":"
        self._subscription: Any = client.pubsub()
        self._subscription.psubscribe(self._prefix + "*")
        self._subscription.get_message(timeout=5)

    def close(self) -> None:
        self._subscription.close()

    def take(self, tick: Tick) -> tuple[list[Event], list[float]]:
        """The events since the last time as the model has them, and when wake-ups were for (ms)."""
        events, wakes = list[Event](), list[float]()
        for channel, text in self._messages():
            name, _, rest = channel.removeprefix(self._prefix).partition(":")
            if name == "wake":
                wakes.append(float(text))
            elif name in {"state", "progress", "cancel"}:
                events.append(_event(name, rest, text.split("\x1f"), tick))
        return events, wakes

    def _messages(self) -> list[tuple[str, str]]:
        # Its answer comes behind everything that was published before it was asked.
        self._subscription.ping("seen")
        messages: list[tuple[str, str]] = []
        while (message := self._subscription.get_message(timeout=5))["type"] != "pong":
            messages.append((message["channel"], message["data"]))
        return messages


def _event(name: str, key: str, fields: list[str], tick: Tick) -> Event:
    match name:
        case "state":
            state, when, worker, started, completed, reason = fields
            instants = tick(started), tick(completed)
            return (name, key, state, tick(when), worker or None, *instants, reason or None)
        case "progress":
            current, total, at, message = fields
            return (name, key, int(current), int(total), tick(at), message or None)
        case _:
            return (name, *fields)
