"""The page that says what an order will do, before it is carried out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException

from docket.listing import Act, ExecutionSummary, Filter
from docket.strike_rules import Operator
from docket.web.actions import OF_POOL, OF_TASKS, Action
from docket.web.order import DELAYS, PAUSE_LENGTHS, VALUE_TYPES, Order, struck
from docket.web.pages.rules import strike_identity
from docket.web.pages.tasks import LOOKED_AT, LOOKING_SECONDS, described
from docket.web.phrases import tasks
from docket.web.view import View

_ACTS = {Action.CANCEL: Act.CANCEL, Action.RETRY: Act.RETRY, Action.RUN: Act.RUN_NOW}
#: Named tasks that the page shows with their states.
_SHOWN = 20

_VERBS = {
    Action.CANCEL: "Cancel",
    Action.RETRY: "Retry",
    Action.RUN: "Run now",
    Action.RESCHEDULE: "Reschedule",
    Action.PAUSE: "Pause",
    Action.RESUME: "Resume",
    Action.STRIKE: "Strike",
    Action.RESTORE: "Restore",
    Action.SCALE: "Scale",
    Action.RELOAD: "Reload",
    Action.RESTART: "Restart",
    Action.DUMP: "Dump",
}
_SAYS = {
    Action.CANCEL: "What waits is removed; what runs is cancelled by its worker.",
    Action.RETRY: "Each runs again with its stored arguments, as a new execution of its key.",
    Action.RUN: "Scheduled tasks become ready now, instead of at their time.",
    Action.RESCHEDULE: "What waits gets another time.",
    Action.PAUSE: "No worker claims these tasks until they are resumed. What runs goes on, and "
    "nothing is lost.",
    Action.RESUME: "What was held up runs in the order in which it came.",
    Action.STRIKE: "Matching calls are neither scheduled nor run, by any process, until this is "
    "restored. What waits already and matches is dropped when a worker comes to it.",
    Action.RESTORE: "Matching calls are scheduled and run again.",
    Action.SCALE: "A number of processes keeps the pool at that size; LEAST:MOST has it follow "
    "the work between these two.",
    Action.RELOAD: "The code is imported anew, and every worker replaced, successor first. Code "
    "that does not import changes nothing.",
    Action.RESTART: "The worker is replaced, successor first; it finishes what it runs.",
    Action.DUMP: "The stacks and tasks of every worker are written to the log of the pool.",
}
_DANGEROUS = frozenset({Action.CANCEL, Action.STRIKE})


@dataclass(frozen=True, slots=True)
class Input:
    """A field that the operator fills in. `options`: a choice among these."""

    name: str
    label: str
    value: str = ""
    options: Sequence[tuple[str, str]] = ()
    hint: str = ""
    required: bool = False


async def confirmation(view: View, order: Order) -> dict[str, Any]:
    """Make the values of the page.

    Raises:
        HTTPException: the order cannot be understood.
    """
    rows: list[tuple[str, ExecutionSummary | None]] = []
    subject, count, counted_among = "", None, None
    if order.action in OF_TASKS:
        wanted = order.filter
        if wanted is None:
            rows, subject = await _named(view, order)
        else:
            subject, count, counted_among = await _counted(view, order.action, wanted)
    elif order.action is Action.RESTORE:
        subject = await _strike(view, order)
    elif order.action in OF_POOL:
        subject = f"slot {order.one('slot')}" if order.action is Action.RESTART else "the pool"
    elif order.action is Action.STRIKE:
        subject = order.function or "calls"
    else:
        subject = order.function or f"the whole docket {view.docket.name}"
    inputs = _inputs(order)
    filled = {"back", *(each.name for each in inputs)}
    return {
        "order": order,
        "verb": _VERBS[order.action],
        "says": _SAYS[order.action],
        "subject": subject,
        "count": count,
        "counted_among": counted_among,
        "named": rows[:_SHOWN],
        "unnamed": max(0, len(rows) - _SHOWN),
        "inputs": inputs,
        "hidden": order.written(filled),
        "back": view.own_address(order.one("back")),
        "is_dangerous": order.action in _DANGEROUS,
    }


async def _named(view: View, order: Order) -> tuple[list[tuple[str, ExecutionSummary | None]], str]:
    keys = order.keys
    if not keys:
        raise HTTPException(400, "No task is chosen. Go back, and choose some.")
    found = [await view.docket.describe(key) for key in keys[:_SHOWN]]
    details = [each and each.summary for each in found]
    rows = [*zip(keys, details, strict=False), *((key, None) for key in keys[_SHOWN:])]
    return rows, tasks(len(keys))


async def _counted(view: View, action: Action, wanted: Filter) -> tuple[str, str, int | None]:
    """Count what a filter means; the number that was looked at, if those were not all."""
    if action not in _ACTS:
        raise HTTPException(400, "This is done to single tasks only.")
    try:
        applied = _ACTS[action].applied_to(wanted)
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    if applied == Filter(states=applied.states):
        counts = await view.docket.counts_by_state()
        return described(applied), tasks(sum(counts[state] for state in applied.states)), None
    found = await view.docket.count_matching(
        applied, most_looked_at=LOOKED_AT, seconds=LOOKING_SECONDS
    )
    if found.is_complete:
        return described(applied), tasks(found.number), None
    number = f"{found.number:,} or more tasks" if found.number else "any number of tasks"
    return described(applied), number, found.looked_at


async def _strike(view: View, order: Order) -> str:
    for strike in await view.docket.strikes():
        if strike_identity(strike) == order.one("strike"):
            return struck(strike)
    raise HTTPException(404, "There is no such strike any more.")


def _inputs(order: Order) -> list[Input]:
    reason = Input("reason", "Reason", order.one("reason"), hint="for those who look later")
    match order.action:
        case Action.PAUSE:
            lengths = [(name, f"for {name}" if name else "until resumed") for name in PAUSE_LENGTHS]
            return [Input("length", "It lasts", order.one("length"), lengths), reason]
        case Action.RESCHEDULE:
            delays = [(name, f"in {name}") for name in DELAYS]
            hint = "instead, with its time zone, such as 2030-01-31T18:00+01:00"
            return [Input("delay", "New time", "", delays), Input("at", "Or at", hint=hint), reason]
        case Action.STRIKE:
            return [*_of_strike(order), reason]
        case Action.SCALE:
            hint = "such as 4, or 2:16"
            return [Input("size", "Processes", order.one("size"), hint=hint, required=True)]
        case Action.RESUME | Action.RESTORE | Action.RELOAD | Action.RESTART | Action.DUMP:
            return []
        case _:
            return [reason]


def _of_strike(order: Order) -> list[Input]:
    operators = [(each.value, each.value) for each in Operator]
    return [
        Input("function", "Function", order.one("function"), hint="empty for all functions"),
        Input("parameter", "Parameter", order.one("parameter"), hint="empty for every call"),
        Input("operator", "Comparison", order.one("operator") or "==", operators),
        Input("type", "Type", order.one("type"), [(each, each) for each in VALUE_TYPES]),
        Input("value", "Value", order.one("value"), hint="for between: two, with a comma"),
    ]
