"""The rules by which tasks run (schedules, limits, pauses, strikes), and the audit log."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from starlette.exceptions import HTTPException

from docket.docket import StrikeRecord
from docket.web.view import View

#: Acts of the audit log on a page.
PAGE = 50


async def schedules(view: View) -> dict[str, Any]:
    """Read the tasks that run again and again."""
    shown = view.shown
    assert shown is not None
    recurring, (statistics, _), pauses = await asyncio.gather(
        view.docket.recurring(), shown.statistics("24h"), shown.pauses.get()
    )
    return {
        "recurring": recurring,
        "statistics": statistics.functions,
        "paused": {each.function for each in pauses},
    }


async def limits(view: View) -> dict[str, Any]:
    """Read the limits of which slots are held."""
    shown = view.shown
    assert shown is not None
    found, backlog = await asyncio.gather(view.docket.limits(), shown.backlog.get())
    return {"limits": found, "backlog": backlog}


async def holds(view: View) -> dict[str, Any]:
    """Read the pauses and strikes in effect."""
    shown = view.shown
    assert shown is not None
    pauses, strikes, backlog = await asyncio.gather(
        shown.pauses.get(), view.docket.strikes(), shown.backlog.get()
    )
    return {
        "pauses": pauses,
        "strikes": [(strike_identity(each), each, condition_of(each)) for each in strikes],
        "backlog": backlog,
    }


async def audit(view: View) -> dict[str, Any]:
    """Read what operators did."""
    try:
        first = int(view.query.get("first", "0"))
        acts = await view.docket.recorded_acts(first, PAGE)
    except ValueError as error:
        raise HTTPException(400, f"This page cannot be shown: {error}") from error
    return {"acts": acts, "first": first, "older": first + PAGE if len(acts) == PAGE else None}


def strike_identity(strike: StrikeRecord) -> str:
    """Return a name of a strike by which a form can say that it is meant."""
    parts = (strike.function, strike.parameter, strike.operator.value, repr(strike.value))
    text = "\x1f".join(map(repr, (*parts, strike.since.isoformat())))
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:24]


def condition_of(strike: StrikeRecord) -> str:
    """Return the condition of a strike in words."""
    if strike.parameter is None:
        return "every call"
    value = repr(strike.value) if strike.is_readable else "(a pickle, which only workers read)"
    return f"{strike.parameter} {strike.operator.value} {value}"
