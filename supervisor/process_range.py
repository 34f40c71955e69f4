"""The bounds of a pool whose size follows its work, as in `--processes 2:16` (pure)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessRange:
    """The fewest and the most processes of a pool; it starts with the fewest."""

    least: int
    most: int

    def __str__(self) -> str:
        return f"{self.least}:{self.most}"

    def clamp(self, processes: int) -> int:
        """The number within the bounds that is nearest to `processes`."""
        return max(self.least, min(self.most, processes))


def parse(text: str) -> int | ProcessRange:
    """Parse `8` or `2:16`; the limits are for the caller to check.

    Raises:
        ValueError: `text` is neither.
    """
    least, colon, most = text.partition(":")
    return ProcessRange(int(least), int(most)) if colon else int(least)
