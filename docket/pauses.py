"""Pauses: the tasks of a function, or of a whole docket, wait until it is resumed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from docket.clock import aware, delay_microseconds, duration, from_microseconds, to_microseconds
from docket.errors import DocketError
from docket.remarks import remark
from docket.store.pauses import MAX_PAUSES, PauseRow

if TYPE_CHECKING:
    from docket.docket import Docket

logger = logging.getLogger("docket.docket")


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause in effect.

    Attributes:
        function: the name of the task; None for the whole docket.
        since: its beginning, by the server's clock.
        until: its end, by the server's clock; None if it lasts until it is resumed.
        reason: the reason that was given, if any.
        by: the name that was given of who paused it, if any.
    """

    function: str | None
    since: datetime
    until: datetime | None
    reason: str | None
    by: str | None


async def pause(
    docket: Docket,
    function: str | None,
    until: datetime | timedelta | None,
    reason: str | None,
    by: str | None,
) -> Pause | None:
    """Pause a function or a docket; see Docket.pause."""
    name = _stored_name(function)
    reason, by = remark("reason", reason), remark("by", by)
    kind, end = _end(until)
    is_unknown = await _is_unknown(docket, name)
    paused = await docket.transitions.pauses.pause(
        name, kind, end, reason or "", by or "", token=uuid4().hex
    )
    if paused.verdict == "past":
        raise ValueError(
            f"until must be in the future, but {until} is past by the server's clock: nothing was "
            "paused"
        )
    if paused.verdict == "full":
        raise DocketError(
            f"{docket!r} has {MAX_PAUSES} pauses, the most there may be: nothing was paused. "
            "Resume some, or pause the whole docket"
        )
    if is_unknown:
        logger.warning(
            "Pausing task %r, which is not registered here, and which no live worker can run: "
            "check its name; the pause holds once there is such a task",
            name,
        )
    return None if paused.replaced is None else _pause(name, paused.replaced)


async def resume(docket: Docket, function: str | None) -> bool:
    """End a pause; see Docket.resume."""
    return await docket.transitions.pauses.resume(_stored_name(function), token=uuid4().hex)


async def pauses(docket: Docket) -> list[Pause]:
    """List the pauses in effect; see Docket.pauses."""
    found = await docket.transitions.pauses.in_effect()
    return [_pause(name, found[name]) for name in sorted(found)]


def _stored_name(function: str | None) -> str:
    if function == "":
        raise ValueError(
            "The name of a task is not empty: leave it out, or give None, for the whole docket"
        )
    return function or ""


def _end(until: datetime | timedelta | None) -> tuple[Literal["at", "for"], int | None]:
    if until is None:
        return "at", None
    if isinstance(until, timedelta):
        length = duration("until", until)
        if length <= timedelta(0):
            raise ValueError(f"until must be in the future, not {length} from now")
        return "for", delay_microseconds(length.total_seconds())
    return "at", to_microseconds(aware("until", until))


async def _is_unknown(docket: Docket, name: str) -> bool:
    if not name or name in docket.tasks:
        return False
    return not await docket.transitions.is_known(name)


def _pause(name: str, row: PauseRow) -> Pause:
    until = None if row.until is None else from_microseconds(row.until)
    since = from_microseconds(row.since)
    return Pause(name or None, since, until, row.reason or None, row.by or None)
