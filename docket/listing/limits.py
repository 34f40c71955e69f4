"""The limits of a docket in use: who holds their slots, and who waits for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from docket.listing.filters import Filter
from docket.listing.pages import Listing
from docket.listing.summaries import PAUSE_OF, ListedState
from docket.store.held_limits import HeldLimits
from docket_display.printable import decoded

if TYPE_CHECKING:
    from docket.docket import Docket

#: Executions that run, and that wait, among which the scopes are found.
LOOKED_AT = 1_000
#: Keys that are named of the holders, and of those that wait.
NAMED = 10


class LimitInUse(msgspec.Struct, frozen=True, kw_only=True):
    """A scope of a concurrency limit, of which slots are held.

    Attributes:
        scope: the name under which runs are counted together.
        size: the number of its slots, as the first that waits says; None if none waits.
        held: the number of slots that are held.
        waiting: the number of tasks that wait for one.
        holders: the keys of runs that hold one, ten at most.
        next_in_line: the keys of the tasks that wait, the first first, ten at most.
    """

    scope: str
    size: int | None
    held: int
    waiting: int
    holders: tuple[str, ...]
    next_in_line: tuple[str, ...]


class PlaceInLine(msgspec.Struct, frozen=True):
    """The place of a task among those that wait for a slot: 1 is the next."""

    scope: str
    place: int
    waiting: int


async def limits_in_use(docket: Docket) -> list[LimitInUse]:
    """List the concurrency limits of which slots are held, the one with most waiting tasks first.

    They are found among a thousand executions that run and a thousand that wait.

    Raises:
        ServerUnavailable: the server is away.
    """
    limits = HeldLimits(docket.connections.pipeline, docket.keys)
    listing = Listing(docket)
    waiting = await listing.page(Filter.of(ListedState.WAITING), LOOKED_AT, None)
    waited = Counter(
        scope
        for each in waiting.executions
        for scope in each.waits_for
        if not scope.startswith(PAUSE_OF)
    )
    scopes = dict.fromkeys([*waited, *await limits.held_scopes(LOOKED_AT)])
    return sorted(
        [await _in_use(limits, scope) for scope in scopes],
        key=lambda each: (-each.waiting, -each.held, each.scope),
    )


async def places_in_line(docket: Docket, key: str, scopes: Sequence[str]) -> list[PlaceInLine]:
    """Return the place of a task in each line that it waits in."""
    limits = HeldLimits(docket.connections.pipeline, docket.keys)
    found: list[PlaceInLine] = []
    for scope in scopes:
        ahead, waiting = await limits.place(scope, key)
        if ahead is not None:
            found.append(PlaceInLine(scope, ahead + 1, waiting))
    return found


async def _in_use(limits: HeldLimits, scope: str) -> LimitInUse:
    held, holders = await limits.holders(scope, NAMED)
    waiting, line = await limits.line(scope, NAMED)
    return LimitInUse(
        scope=scope,
        size=await limits.size(scope, line[0]) if line else None,
        held=held,
        waiting=waiting,
        holders=tuple(map(decoded, holders)),
        next_in_line=tuple(map(decoded, line)),
    )


__all__ = ["LimitInUse", "PlaceInLine", "limits_in_use", "places_in_line"]
