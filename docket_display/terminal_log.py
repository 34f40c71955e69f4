"""Records of a log as a terminal shows them (pure, but for the time zone).

    22:10:45 INFO     [worker 1 order-17] docket.worker: the message, wrapped between its
             words

By hand, since the library that is made for this costs every worker 10 MB.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from docket_display.wrapping import column_after, flow, wrap

_COLORS = {"DEBUG": "2", "INFO": "34", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_DIM, _SPEAKER = "2", "36"
#: The place of the level, below which a message goes on.
_INDENT = len("22:10:45 ")


@dataclass(frozen=True, slots=True)
class Record:
    """One record; its texts are printable.

    Args:
        created: its time, in seconds since 1970.
        level: its name.
        speaker: the process and the task that it comes from, in brackets; may be empty.
        logger: the name of its logger.
        message: its message, which may have several lines.
        below: further lines, such as those of a traceback.
    """

    created: float
    level: str
    speaker: str
    logger: str
    message: str
    below: Sequence[str] = ()


def allows_colors(environment: Mapping[str, str]) -> bool:
    """Return whether a terminal may be sent colours: not with NO_COLOR or TERM=dumb."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def render(record: Record, width: int | None, *, colors: bool) -> str:
    """Return the lines of a record, without their end.

    Args:
        width: columns of the terminal; None: it wraps nothing.
        colors: use some.
    """
    first, *rest = record.message.split("\n")
    at = time.strftime("%H:%M:%S", time.localtime(record.created))
    segments = [
        (at, _DIM),
        (f" {record.level:<8}", _COLORS.get(record.level, "0")),
        (f" {record.speaker}" if record.speaker else "", _SPEAKER),
        (f" {record.logger}:", _DIM),
        (f" {first}", ""),
    ]
    painted: list[str] = []
    column = 0
    for text, color in segments:
        # The level is not flowed: blanks at its end are no word.
        flowed = text if width is None or column <= _INDENT else flow(text, width, column, _INDENT)
        column = column_after(flowed, column)
        painted.append(f"\x1b[{color}m{flowed}\x1b[0m" if colors and color and text else flowed)
    below = [*rest, *record.below]
    if width is not None:
        below = [wrapped for line in below for wrapped in wrap(line, width)]
    return "\n".join(["".join(painted), *below])
