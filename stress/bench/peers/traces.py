"""The traces that adapters leave (adapters/harness.py): runs counted, delays, starts and ends."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_SLOT = struct.Struct("<qdd")
_STAMP = struct.Struct("<dd")
_RUN = struct.Struct("<qqd")


@dataclass(frozen=True)
class Slot:
    """The runs of one process so far; times are of the monotonic clock, in seconds."""

    pid: int
    runs: int
    first: float
    last: float


@dataclass
class Fate:
    """The starts and ends of one task: process id and monotonic time of each."""

    starts: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    ends: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])


def slots(folder: Path) -> list[Slot]:
    """Read the slot of each process that ran a counted task."""
    found: list[Slot] = []
    for pid, content in _files(folder, "slot"):
        if len(content) >= _SLOT.size:
            runs, first, last = _SLOT.unpack_from(content)
            if runs:
                found.append(Slot(pid, runs, first, last))
    return found


def delays(folder: Path) -> list[float]:
    """Read the delay of each stamp, in seconds."""
    return [
        start - moment
        for _, content in _files(folder, "stamps")
        for moment, start in _STAMP.iter_unpack(_whole(content, _STAMP.size))
    ]


def fates(folder: Path) -> dict[int, Fate]:
    """Read what became of each task that lingers, by its number."""
    found: dict[int, Fate] = {}
    for pid, content in _files(folder, "runs"):
        for number, is_end, at in _RUN.iter_unpack(_whole(content, _RUN.size)):
            fate = found.setdefault(number, Fate())
            (fate.ends if is_end else fate.starts).append((pid, at))
    return found


def _files(folder: Path, kind: str) -> Iterator[tuple[int, bytes]]:
    for path in sorted(folder.glob(f"{kind}.*")):
        yield int(path.suffix[1:]), path.read_bytes()


def _whole(content: bytes, size: int) -> bytes:
    # Its writer may be in the middle of a record.
    return content[: len(content) - len(content) % size]
