"""Put the pieces of a stack dump together to one record."""

import asyncio
from collections.abc import Callable

#: A dump is whole when nothing more came for this long: faulthandler writes without an end mark.
QUIET_SECONDS = 0.1
#: Characters of one record, at most: whatever writes without a pause is no dump.
MOST_CHARACTERS = 1 << 20


class DumpCollector:
    """Gather the pieces of one process's dump.

    Arguments:
        on_dump: called with the whole text.
    """

    def __init__(self, on_dump: Callable[[str], None]) -> None:
        self._on_dump = on_dump
        self._pieces: list[str] = []
        self._characters = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, piece: str) -> None:
        """Add a piece; more may follow."""
        self._pieces.append(piece)
        self._characters += len(piece)
        if self._characters >= MOST_CHARACTERS:
            self.flush()
            return
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
            self._characters = 0
            self._on_dump(text)
