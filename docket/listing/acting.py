"""Acts on executions: one by its key, or all that a filter means, in batches."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from docket.clock import stored, to_microseconds
from docket.errors import NoSuchExecution, WrongState
from docket.listing.filters import Filter, check_filter
from docket.listing.pages import Listing
from docket.listing.summaries import ExecutionSummary, ListedState
from docket.store.acts import ACTS, Acts
from docket.store.keys import check_task_key

if TYPE_CHECKING:
    from docket.docket import Docket

_RETRIABLE = (ListedState.FAILED, ListedState.CANCELLED)
_LIVE = (ListedState.RUNNING, ListedState.QUEUED, ListedState.WAITING, ListedState.SCHEDULED)


class Act(Enum):
    """The acts on all executions that a filter means."""

    CANCEL = "cancel"
    RETRY = "retry"
    RUN_NOW = "run now"

    def applied_to(self, wanted: Filter) -> Filter:
        """Return the filter with the states that this applies to, if it names none.

        Raises:
            ValueError: it names others.
            TypeError: it is no filter.
        """
        check_filter(wanted)
        states = APPLIES_TO[self]
        if wanted.states == tuple(ListedState):
            return msgspec.structs.replace(wanted, states=states)
        wrong = [state.value for state in wanted.states if state not in states]
        if wrong:
            applies = ", ".join(state.value for state in states)
            raise ValueError(
                f"{self.value!r} applies to executions that are {applies}, not to those that are "
                f"{', '.join(wrong)}"
            )
        return wanted


#: The states in which an execution may be acted on.
APPLIES_TO: dict[Act, tuple[ListedState, ...]] = {
    Act.CANCEL: _LIVE,
    Act.RETRY: _RETRIABLE,
    Act.RUN_NOW: (ListedState.SCHEDULED,),
}

#: The verdicts of the store that count as done.
_DONE = {"retried", "moved", "removed", "signalled"}

#: What is said of executions that were left alone, by the verdict of the store: "they ...".
LEFT_ALONE = {
    "live": "wait or run already",
    "changed": "had changed meanwhile",
    "nothing": "had ended meanwhile",
    "ready": "were ready already",
    "running": "ran already",
    "waiting": "wait for a limit or the end of a pause",
    "ended": "had ended meanwhile",
}

#: The reasons for which a task cannot be moved, by the verdict of the store.
_IMMOVABLE = {
    "running": "it runs",
    "ended": "it has ended",
    "waiting": "it waits for a limit or the end of a pause, and runs when there is room",
    "ready": "it is ready already, and runs when a worker is free",
}


class BulkResult(msgspec.Struct, frozen=True):
    """The result of an act on many executions, so far.

    Attributes:
        matched: the number of executions that the filter meant.
        done: the number of those acted on; one that runs is cancelled by its worker soon after.
        skipped: the number of those left alone, by the reason: they had changed meanwhile.
    """

    matched: int = 0
    done: int = 0
    skipped: dict[str, int] = {}


class Actor:
    """The acts on the executions of one docket.

    Args:
        docket: the docket, open.
    """

    def __init__(self, docket: Docket) -> None:
        self._listing = Listing(docket)
        self._transitions = docket.transitions
        self._acts = Acts(docket.connections.pipeline, docket.keys)

    # One ----------------------------------------------------------------------------------

    async def retry(self, key: str) -> ExecutionSummary | None:
        """Run an execution again that failed or was cancelled; see Docket.retry."""
        check_task_key(key)
        ((verdict, _),) = await self._acts.retry([(key, None)])
        details = await self._listing.details(key)
        if verdict == "retried":
            return None if details is None else details.summary
        if details is None:
            raise NoSuchExecution(_missing("retry", key))
        raise WrongState(
            f"Task {key!r} cannot be retried: it is {details.summary.state.value}, and only those "
            "that failed or were cancelled can"
        )

    async def move(self, key: str, when: datetime | None) -> None:
        """Give a task that waits another time; see Docket.reschedule and Docket.run_now."""
        check_task_key(key)
        at = None if when is None else stored(when)
        (verdict,) = await self._acts.move([(key, 0)], at)
        if verdict == "changed":
            raise NoSuchExecution(_missing("reschedule" if when else "run", key))
        if verdict in _IMMOVABLE and not (when is None and verdict == "ready"):
            raise WrongState(f"The time of task {key!r} cannot be changed: {_IMMOVABLE[verdict]}")

    # Many ---------------------------------------------------------------------------------

    async def act(
        self, act: Act, wanted: Filter, progress: Callable[[BulkResult], object] | None
    ) -> BulkResult:
        """Act on all executions that a filter means, a batch at a time.

        Args:
            act: the act.
            wanted: the filter; states that the act does not apply to are an error.
            progress: called after each batch, and awaited if it returns something to await; an
                error of it ends the act.

        Raises:
            ValueError: the filter names a state that the act does not apply to.
        """
        wanted = act.applied_to(wanted)
        matched = done = 0
        skipped: Counter[str] = Counter()
        cursor: str | None = None
        while True:
            page = await self._listing.page(wanted, ACTS, cursor)
            verdicts = Counter(await self._act_on(act, page.executions))
            matched += len(page.executions)
            done += sum(number for verdict, number in verdicts.items() if verdict in _DONE)
            skipped.update({v: number for v, number in verdicts.items() if v not in _DONE})
            result = BulkResult(matched, done, dict(skipped))
            told = None if progress is None else progress(result)
            if inspect.isawaitable(told):
                await told
            cursor = page.cursor
            if cursor is None:
                return result

    async def _act_on(self, act: Act, found: Sequence[ExecutionSummary]) -> list[str]:
        if not found:
            return []
        match act:
            case Act.RETRY:
                ended = [
                    (one.key, None if one.ended_at is None else to_microseconds(one.ended_at))
                    for one in found
                ]
                return [verdict for verdict, _ in await self._acts.retry(ended)]
            case Act.RUN_NOW:
                return await self._acts.move([(one.key, one.generation) for one in found], None)
            case Act.CANCEL:
                cancel = self._transitions.cancel
                return list(
                    await asyncio.gather(*(cancel(one.key, one.generation) for one in found))
                )


def _missing(act: str, key: str) -> str:
    return (
        f"Cannot {act} task {key!r}: there is no record of it (it never was, or has ended and is "
        "not kept any more)"
    )
