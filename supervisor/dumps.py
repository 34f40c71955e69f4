"""Stacks that workers wrote about themselves, put together to one log record each."""

import asyncio
from collections.abc import Callable

#: A dump is whole when nothing more came for this long: faulthandler writes without an end mark.
QUIET_SECONDS = 0.1


class DumpCollector:
    """Gathers the pieces of one worker's dump.

    Arguments:
        on_dump: called with the whole text.
    """

    def __init__(self, on_dump: Callable[[str], None]) -> None:
        self._on_dump = on_dump
        self._pieces: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, piece: str) -> None:
        """A piece came; more may follow."""
        self._pieces.append(piece)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(QUIET_SECONDS, self.flush)

    def flush(self) -> None:
        """Hand over what there is. Nothing happens if there is none."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pieces:
            text = "".join(self._pieces)
            self._pieces.clear()
            self._on_dump(text)
