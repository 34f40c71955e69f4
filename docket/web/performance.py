"""Carrying out an order, and writing down who gave it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException

from docket.docket import Docket
from docket.errors import DocketError, NoSuchExecution, RefusedCall, WrongState
from docket.listing import APPLIES_TO, LEFT_ALONE, Act, BulkResult, Filter
from docket.pool_control import PoolControl, PoolFailure
from docket.web.actions import OF_POOL, OF_TASKS, Action
from docket.web.notices import Notice
from docket.web.order import Order, named, struck
from docket.web.pages.rules import strike_identity
from docket.web.phrases import tasks
from docket.web.view import View
from docket_display.printable import in_view, on_one_line

#: Every act of an operator, besides the log that is kept on the server.
audit_logger = logging.getLogger("docket.audit")
logger = logging.getLogger("docket.web")

#: The most tasks that one order by a filter is carried out on, and the pause after each batch of
#: 64, in seconds: work beside it is not to notice.
MOST_IN_BULK, BULK_PAUSE_SECONDS = 10_000, 0.02
#: Failures of single tasks that are told.
_TOLD = 20

_ACTS = {Action.CANCEL: Act.CANCEL, Action.RETRY: Act.RETRY, Action.RUN: Act.RUN_NOW}
_DONE = {
    Action.CANCEL: "Cancelled",
    Action.RETRY: "Retried",
    Action.RUN: "Let run",
    Action.RESCHEDULE: "Rescheduled",
}


class BulkIsFull(Exception):
    """A bulk has reached its bound."""

    def __init__(self, result: BulkResult) -> None:
        super().__init__("the bound of a bulk is reached")
        self.result = result


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of an order: for who gave it, and for the log."""

    notice: Notice
    outcome: str


async def carry_out(view: View, order: Order) -> Notice:
    """Carry out an order and record it, whatever becomes of it.

    Raises:
        HTTPException: it cannot be understood, or another bulk is at work.
    """
    target = order.target() or "nothing"
    try:
        done = await _carried_out(view, order)
    except (DocketError, RefusedCall, PoolFailure, ValueError) as error:
        text = in_view(str(error))
        done = _Done(Notice(text, is_error=True), f"failed: {text}")
    except HTTPException as error:
        await _record(view, order, target, f"refused: {error.detail}")
        raise
    if view.shown is not None:
        view.shown.forget()
    recorded = await _record(view, order, target, done.outcome)
    if recorded:
        return done.notice
    details = (*done.notice.details, "It could not be written into the audit log on the server.")
    return Notice(done.notice.text, details, done.notice.is_error)


async def _carried_out(view: View, order: Order) -> _Done:
    if order.action in OF_TASKS:
        wanted = order.filter
        if wanted is not None:
            return await _in_bulk(view, order.action, wanted)
        return await _on_keys(view.docket, order)
    if order.action in OF_POOL:
        assert view.site.pool is not None
        text = await _on_pool(view.site.pool, order)
        return _Done(Notice(in_view(text)), text)
    text = await _on_function(view, order)
    return _Done(Notice(in_view(text)), "done")


# Tasks ------------------------------------------------------------------------------------


async def _on_keys(docket: Docket, order: Order) -> _Done:
    keys = order.keys
    if not keys:
        raise HTTPException(400, "No task is chosen: nothing was done.")
    when = order.when() if order.action is Action.RESCHEDULE else None
    calls: dict[Action, Callable[[str], Awaitable[object]]] = {
        Action.RETRY: docket.retry,
        Action.RUN: docket.run_now,
        Action.CANCEL: lambda key: _cancel(docket, key),
    }
    if when is not None:
        calls[Action.RESCHEDULE] = lambda key: docket.reschedule(key, when)
    failures: list[str] = []
    for key in keys:
        try:
            await calls[order.action](key)
        except (NoSuchExecution, WrongState) as error:
            failures.append(in_view(str(error)))
    done = len(keys) - len(failures)
    text = f"{_DONE[order.action]} {done:,} of {tasks(len(keys))}."
    return _Done(Notice(text, tuple(failures[:_TOLD]), is_error=not done), text)


async def _cancel(docket: Docket, key: str) -> None:
    details = await docket.describe(key)
    if details is None:
        raise NoSuchExecution(f"There is no record of task {key!r}")
    if details.summary.state not in APPLIES_TO[Act.CANCEL]:
        raise WrongState(f"Task {key!r} has ended already: {details.summary.state.value}")
    await docket.cancel(key)


async def _in_bulk(view: View, action: Action, wanted: Filter) -> _Done:
    if action not in _ACTS:
        raise HTTPException(400, "This is done to single tasks only.")
    if view.site.bulk.locked():
        raise HTTPException(429, "Another bulk is at work: nothing was done. Try again soon.")
    docket = view.docket
    calls = {
        Action.RETRY: docket.retry_matching,
        Action.RUN: docket.run_matching_now,
        Action.CANCEL: docket.cancel_matching,
    }
    is_full = False
    async with view.site.bulk:
        try:
            result = await calls[action](wanted, progress=_paced)
        except BulkIsFull as full:
            result, is_full = full.result, True
    text = f"{_DONE[action]} {result.done:,} of {tasks(result.matched)}."
    details = [
        f"{number:,} left alone: they {LEFT_ALONE.get(reason, on_one_line(reason))}."
        for reason, number in sorted(result.skipped.items())
    ]
    if is_full:
        details.insert(0, f"There may be more: one order reaches {MOST_IN_BULK:,}. Give it again.")
    return _Done(Notice(text, tuple(details)), " ".join([text, *details]))


async def _paced(result: BulkResult) -> None:
    """Bound a bulk in its size and its rate."""
    if result.matched >= MOST_IN_BULK:
        raise BulkIsFull(result)
    await asyncio.sleep(BULK_PAUSE_SECONDS)


# Functions, strikes and the pool ----------------------------------------------------------


async def _on_function(view: View, order: Order) -> str:
    docket, function = view.docket, order.function
    what = function or "The whole docket"
    match order.action:
        case Action.PAUSE:
            before = await docket.pause(
                function, until=order.until(), reason=order.reason, by=view.user
            )
            return f"{what} is paused{'' if before is None else '; it was so before'}."
        case Action.RESUME:
            was = await docket.resume(function)
            return f"{what} {'goes on' if was else 'was not paused'}."
        case Action.STRIKE:
            condition = order.condition()
            await docket.strike(*condition, reason=order.reason, by=view.user)
            return f"Struck: {order.target()}."
        case _:
            return await _restore(view, order)


async def _restore(view: View, order: Order) -> str:
    for strike in await view.docket.strikes():
        if strike_identity(strike) != order.one("strike"):
            continue
        if not strike.is_readable:
            raise ValueError(
                "The value of this strike is a pickle, which only workers read: restore it in "
                "Python, by the call that struck it"
            )
        await view.docket.restore(
            strike.function,
            strike.parameter,
            strike.operator,
            strike.value,
            reason=order.reason,
            by=view.user,
        )
        return f"Restored: {struck(strike)}."
    raise ValueError("There is no such strike any more: somebody has restored it")


async def _on_pool(pool: PoolControl, order: Order) -> str:
    match order.action:
        case Action.SCALE:
            return await pool.scale(order.one("size").strip())
        case Action.RELOAD:
            return await pool.reload()
        case Action.RESTART:
            slot = order.one("slot")
            if not slot.isascii() or not slot.isdigit() or len(slot) > 6:
                raise ValueError("The slot of a worker is a number")
            return await pool.restart(int(slot))
        case _:
            return await pool.dump()


# The log ----------------------------------------------------------------------------------


async def _record(view: View, order: Order, target: str, outcome: str) -> bool:
    """Write down what was done; return whether the server has it too."""
    audit_logger.info(
        "%s: %s %s by %s from %s: %s",
        "-" if view.shown is None else view.docket.name,
        order.action.value,
        in_view(target),
        in_view(named(view.user)),
        in_view(view.origin),
        in_view(outcome),
    )
    try:
        await view.docket.record_act(
            order.action.value,
            target,
            outcome,
            by=view.user,
            origin=view.origin,
            reason=order.reason,
        )
    except (DocketError, RefusedCall) as error:
        logger.error("An act is not in the audit log on the server: %s", error)
        return False
    return True
