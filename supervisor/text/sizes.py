"""Sizes of memory as operators write them: `300M`, `1.5G`, `512MiB`; and shares: `10%`."""

import re

#: For messages about a size that is not understood.
ACCEPTED = "a size such as 300M, 1.5G or 512MiB"

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?)?b?", re.ASCII)
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)", re.ASCII)


def parse(text: str) -> int:
    """Parse a size into bytes: K, M and G are powers of 1000, Ki, Mi and Gi of 1024.

    Raises:
        ValueError: `text` is not of that form.
    """
    size = _SIZE.fullmatch(text.strip().lower())
    if size is None:
        raise ValueError(f"{text!r} is not {ACCEPTED}")
    return int(float(size[1]) * _UNITS[size[2] or ""])


def parse_share(text: str) -> float:
    """Parse a fraction, written as a percentage (`10%`) or as itself (`0.1`).

    Raises:
        ValueError: `text` is neither.
    """
    share = _SHARE.fullmatch(text.strip())
    if share is None:
        raise ValueError(f"{text!r} is not a share such as 10% or 0.1")
    return float(share[1]) / (100 if share[2] else 1)


def brief(size: float) -> str:
    """`size` bytes for a log line: 14.5 MB, 1.2 GB."""
    for unit, factor in (("GB", 1000**3), ("MB", 1000**2), ("kB", 1000)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size:.0f} B"
