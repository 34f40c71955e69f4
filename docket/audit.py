"""The audit log of a docket: what operators did to it, who, when, and from where."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec

from docket.clock import from_microseconds
from docket.log_text import head
from docket.store.audit import MOST_ACTS, AuditStore

if TYPE_CHECKING:
    from docket.docket import Docket

#: Most characters of each text of an act: keys, reasons and filters may have any length.
_TEXT = 1_000
#: Rows read for a page: what others wrote there is passed over.
MOST_READ = 1_000


class OperatorAct(msgspec.Struct, frozen=True, kw_only=True):
    """One act of an operator.

    Attributes:
        at: its time, by the server's clock.
        by: who did it; "-" for somebody who was not asked for a name.
        origin: the address that it came from.
        act: the act, such as "retry" or "pause".
        target: the key, function or filter that it was done to.
        outcome: what became of it.
        reason: the reason that was given.
    """

    at: datetime
    by: str
    origin: str
    act: str
    target: str
    outcome: str
    reason: str | None = None


class _Row(msgspec.Struct, frozen=True):
    identity: str
    at: int
    by: str
    origin: str
    act: str
    target: str
    outcome: str
    reason: str | None = None


async def record_act(
    docket: Docket,
    act: str,
    target: str,
    outcome: str,
    *,
    by: str,
    origin: str,
    reason: str | None = None,
) -> None:
    """Append an act to the audit log of a docket, which keeps the newest ten thousand.

    Texts are cut at 1,000 characters.

    Raises:
        ServerUnavailable: the server is away; the act may have been recorded.
        NotPermitted: the user may not write.
    """
    store = AuditStore(docket.connections.pipeline, docket.keys)
    row = _Row(
        uuid4().hex,
        await store.microseconds(),
        _kept(by),
        _kept(origin),
        _kept(act),
        _kept(target),
        _kept(outcome),
        None if reason is None else _kept(reason),
    )
    await store.append(msgspec.json.encode(row))


async def recorded_acts(docket: Docket, first: int = 0, count: int = 50) -> list[OperatorAct]:
    """List acts from the audit log, the newest first.

    Args:
        docket: open.
        first: the number of newer rows to pass over, at most 10,000.
        count: the number of rows to read, at most 1,000; rows of others are left out.

    Raises:
        ValueError: a number is out of bounds.
        ServerUnavailable: the server is away.
    """
    if not 0 <= first <= MOST_ACTS or not 1 <= count <= MOST_READ:
        raise ValueError(
            f"first must be between 0 and {MOST_ACTS}, and count between 1 and {MOST_READ}"
        )
    rows = await AuditStore(docket.connections.pipeline, docket.keys).newest(first, count)
    found: dict[str, OperatorAct] = {}
    for row in rows:
        try:
            read = msgspec.json.decode(row, type=_Row)
        except (msgspec.MsgspecError, RecursionError):
            continue  # Somebody else has written it.
        found[read.identity] = OperatorAct(
            at=from_microseconds(read.at),
            by=read.by,
            origin=read.origin,
            act=read.act,
            target=read.target,
            outcome=read.outcome,
            reason=read.reason,
        )
    return list(found.values())


def _kept(text: str) -> str:
    return head(text.encode(errors="backslashreplace").decode(), _TEXT)
