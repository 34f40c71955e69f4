"""The tasks of a docket by a filter, and one of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.exceptions import HTTPException

from docket.clock import now
from docket.listing import (
    APPLIES_TO,
    Act,
    ExecutionDetails,
    ExecutionSummary,
    Filter,
    ListedState,
)
from docket.web.actions import Action
from docket.web.view import View

#: Tasks on a page.
PAGE = 50
#: Tasks that are looked at for a page, and the seconds after which it looks no further: a reader
#: does not wait for more, and all other pages wait meanwhile.
LOOKED_AT, LOOKING_SECONDS = 10_000, 0.05
#: The times since when tasks are listed, as the form offers them.
SINCE = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
}
#: The fields of a filter in an address, without the states.
FIELDS = ("function", "key_prefix", "worker", "error")

_TRACE = re.compile(r"\b[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}\b")
_WAITS = (ListedState.QUEUED, ListedState.WAITING, ListedState.SCHEDULED)
_APPLIES = {
    Action.RETRY: APPLIES_TO[Act.RETRY],
    Action.RUN: APPLIES_TO[Act.RUN_NOW],
    Action.RESCHEDULE: _WAITS,
    Action.CANCEL: APPLIES_TO[Act.CANCEL],
}


def filter_of(fields: dict[str, list[str]]) -> Filter:
    """Read a filter from the fields of an address or a form.

    Raises:
        HTTPException: it is none.
    """
    one = {name: values[-1].strip() for name, values in fields.items() if values}
    given: dict[str, Any] = {name: one[name] for name in FIELDS if one.get(name)}
    try:
        for name in ("since", "until"):
            if one.get(name):
                given[name] = _instant(one[name])
        return Filter.of([s for s in fields.get("state", []) if s] or None, **given)
    except ValueError as error:
        raise HTTPException(400, f"This filter cannot be used: {error}") from error
    except TypeError as error:
        raise HTTPException(400, f"This filter cannot be used: {error}") from error


def fields_of(wanted: Filter) -> dict[str, Any]:
    """Return a filter as the fields of an address, in which times are instants."""
    every = wanted.states == tuple(ListedState)
    return {
        "state": [] if every else [state.value for state in wanted.states],
        **{name: getattr(wanted, name) for name in FIELDS},
        "since": None if wanted.since is None else wanted.since.isoformat(),
        "until": None if wanted.until is None else wanted.until.isoformat(),
    }


def described(wanted: Filter) -> str:
    """Return a filter in words."""
    every = wanted.states == tuple(ListedState)
    parts = [] if every else [" or ".join(state.value for state in wanted.states)]
    if wanted.function:
        parts.append(f"of {wanted.function}")
    if wanted.key_prefix:
        parts.append(f"with keys that begin with {wanted.key_prefix!r}")
    if wanted.worker:
        parts.append(f"on {wanted.worker}")
    if wanted.error:
        parts.append(f"with the error {wanted.error!r}")
    if wanted.since:
        parts.append(f"since {wanted.since:%Y-%m-%d %H:%M:%S %Z}")
    if wanted.until:
        parts.append(f"until {wanted.until:%Y-%m-%d %H:%M:%S %Z}")
    return ", ".join(parts) or "all tasks"


def number_in(text: str | None) -> int:
    """Read a number from an address; 0 if there is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else 0


def actions_on(view: View, state: ListedState) -> list[Action]:
    """Return the actions that this viewer may do to a task in a state."""
    return [each for each, states in _APPLIES.items() if state in states and each in view.may]


async def tasks(view: View) -> dict[str, Any]:
    """Read a page of tasks."""
    query = view.request.query_params
    wanted = filter_of({name: query.getlist(name) for name in query})
    try:
        page = await view.docket.executions_matching(
            wanted,
            PAGE,
            query.get("cursor") or None,
            most_looked_at=LOOKED_AT,
            seconds=LOOKING_SECONDS,
        )
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    shown = view.shown
    assert shown is not None
    statistics, _ = await shown.statistics("24h")
    workers = await shown.workers.get()
    counts = await shown.counts.get()
    names = {*statistics.functions, *(name for worker in workers for name in worker.tasks)}
    fields = fields_of(wanted)
    # Actions in bulk are offered for the states that the filter leaves.
    offered = [
        action
        for action, states in _APPLIES.items()
        if action in view.may
        and action is not Action.RESCHEDULE
        and all(state in states for state in wanted.states)
    ]
    rows = [(each, actions_on(view, each.state)) for each in page.executions]
    looked_before = number_in(query.get("looked_at"))
    return {
        "page": page,
        "rows": rows,
        "wanted": wanted,
        "fields": fields,
        "is_filtered": any(fields.values()),
        "is_searched": any(value for name, value in fields.items() if name != "state"),
        "filters": {name: fields[name] or "" for name in FIELDS},
        "since": query.get("since", ""),
        "since_offered": list(SINCE),
        "states": list(ListedState),
        "counts": counts,
        "functions": sorted(names)[:500],
        "worker_names": [worker.name for worker in workers][:200],
        "offered": offered,
        "selectable": [
            action
            for action, states in _APPLIES.items()
            if action in view.may and any(state in states for state in wanted.states)
        ],
        "has_selection": any(actions for _, actions in rows),
        "is_first": "cursor" not in query,
        "looked_at": looked_before + page.looked_at,
        # Those of these states, of which some may have gone or come meanwhile.
        "of": max(sum(counts[s] for s in wanted.states), looked_before + page.looked_at),
    }


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """A moment in the life of an execution, for its timeline."""

    kind: str
    title: str
    at: datetime | None = None
    ended_at: datetime | None = None
    worker: str | None = None
    error: str | None = None
    traceback: str | None = None


async def task(view: View) -> dict[str, Any]:
    """Read everything about one task."""
    key = view.query.get("key", "")
    if not key:
        raise HTTPException(404, "The address names no task: it needs ?key=.")
    details = await view.docket.describe(key)
    if details is None:
        return {"key": key, "details": None}
    summary = details.summary
    is_waiting = summary.state is ListedState.WAITING
    places = await view.docket.places_in_line(summary) if is_waiting else []
    trace = _TRACE.search(summary.trace or "")
    return {
        "key": key,
        "details": details,
        "summary": summary,
        "timeline": timeline(details),
        "places": places,
        "trace_id": trace and trace[1],
        "actions": actions_on(view, summary.state),
    }


def timeline(details: ExecutionDetails) -> list[TimelineEntry]:
    """Tell the life of an execution, the oldest moment first."""
    summary = details.summary
    told: list[TimelineEntry] = []
    if (before := summary.predecessor) is not None:
        title = f"An earlier execution (generation {before.generation}) {before.state}"
        told.append(TimelineEntry("before", title, before.ended_at))
    told += [
        TimelineEntry(
            attempt.how.replace(" ", "-"),
            f"Attempt {attempt.number}: {attempt.how}",
            attempt.started_at,
            attempt.ended_at,
            attempt.worker,
            attempt.error,
            attempt.traceback,
        )
        for attempt in details.attempts
    ]
    return [*told, _present(summary)]


def _present(summary: ExecutionSummary) -> TimelineEntry:
    number = f"attempt {summary.attempt}"
    match summary.state:
        case ListedState.RUNNING:
            title, at = f"Running, {number}", summary.started_at
        case ListedState.QUEUED:
            title, at = f"Queued for {number}, ready since", summary.when
        case ListedState.WAITING:
            title, at = f"Waiting for {', '.join(summary.waits_for)}", summary.when
        case ListedState.SCHEDULED:
            title, at = f"Scheduled for {number}", summary.when
        case ListedState.FAILED | ListedState.CANCELLED | ListedState.COMPLETED as ended:
            return TimelineEntry(
                ended.value,
                ended.value.capitalize(),
                summary.started_at,
                summary.ended_at,
                summary.worker,
            )
    is_running = summary.state is ListedState.RUNNING
    return TimelineEntry(
        summary.state.value, title, at, worker=summary.worker if is_running else None
    )


def _instant(text: str) -> datetime:
    if text in SINCE:
        return now() - SINCE[text]
    return datetime.fromisoformat(text.replace(" ", "+"))
