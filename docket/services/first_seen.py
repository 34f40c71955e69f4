"""The times at which foreign names were first seen, in a table that does not grow with them."""

from collections.abc import Hashable
from time import monotonic

#: Maximum number of names. After that many others, a name counts as new.
MOST_NAMES = 10_000


class FirstSeen:
    """The monotonic time at which each name was first seen."""

    def __init__(self) -> None:
        #: By their hashes, oldest first: a name may be of any length.
        self._since: dict[int, float] = {}

    def seconds(self, name: Hashable) -> float:
        """Return the time since a name was first seen; 0 for one that was not."""
        now = monotonic()
        return now - self._since.get(hash(name), now)

    def note(self, name: Hashable) -> float:
        """Return the time since a name was first seen, which may be now."""
        if hash(name) not in self._since and len(self._since) >= MOST_NAMES:
            del self._since[next(iter(self._since))]
        now = monotonic()
        return now - self._since.setdefault(hash(name), now)

    def forget(self, name: Hashable) -> None:
        """Let a name count as new."""
        self._since.pop(hash(name), None)
