"""Names without their middle: of keys that are alike the beginning and the end tell most (pure)."""

from rich.cells import cell_len

_GAP = "..."


def shorten(text: str, width: int) -> str:
    """Return a name of at most `width` columns: one that is longer without its middle."""
    if cell_len(text) <= width:
        return text
    room = max(0, width - len(_GAP))
    tail = _head(text[::-1], room // 2)[::-1]
    return (_head(text, room - cell_len(tail)) + _GAP + tail)[: max(width, 0)]


def _head(text: str, width: int) -> str:
    """Return the beginning of a text, at most `width` columns of it."""
    used = 0
    for end, character in enumerate(text):
        used += cell_len(character)
        if used > width:
            return text[:end]
    return text
