"""Many calls scheduled together."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, cast

from docket.calls import TaskCall
from docket.execution import Disposition, Execution
from docket.store.batching import schedule_many

if TYPE_CHECKING:
    from docket.docket import Docket

logger = logging.getLogger("docket.docket")


async def schedule_calls(
    docket: Docket, calls: Iterable[TaskCall], chunk_size: int | None, *, replace: bool
) -> list[Execution]:
    """Schedule calls, `chunk_size` at a time; see Docket.add_many."""
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
    executions: list[Execution] = []
    rest = iter(calls)
    while chunk := list(islice(rest, chunk_size)):
        executions += await _schedule_chunk(docket, chunk, replace=replace)
    return executions


async def _schedule_chunk(
    docket: Docket, calls: list[TaskCall], *, replace: bool
) -> list[Execution]:
    await docket.strikes_known()
    executions = [execution_of(docket, call) for call in calls]
    # All are encoded before the first is sent: one that cannot be takes no other along.
    batch = [
        (execution, execution.request(replace, None if call.as_soon_as_possible else call.when))
        for call, execution in zip(calls, executions, strict=True)
        if not refuse_stricken(docket, execution)
    ]
    replies = await schedule_many(docket.transitions.coalescer, [request for _, request in batch])
    for (execution, _), reply in zip(batch, replies, strict=True):
        execution.take_over(reply, replace)
    return executions


async def stricken_names(docket: Docket, calls: Sequence[TaskCall]) -> list[str]:
    """Names of the tasks of those calls that are stricken."""
    await docket.strikes_known()
    strikes = docket.strike_list
    if strikes.is_empty:
        return []
    executions = [execution_of(docket, call) for call in calls]
    return [e.function_name for e in executions if strikes.is_stricken(e)]


def execution_of(docket: Docket, call: TaskCall) -> Execution:
    """The execution of a call, not scheduled yet. Raises TypeError for what is no TaskCall."""
    if not isinstance(cast("object", call), TaskCall):
        raise TypeError(
            f"add_many and replace_many take TaskCalls, not {call!r}: "
            "write docket.call(function)(...), with the arguments"
        )
    name = call.function_name or docket.resolve(call.function)[0]
    return Execution(
        docket, call.function, call.args, call.kwargs, call.key, call.when, 1, function_name=name
    )


def refuse_stricken(docket: Docket, execution: Execution) -> bool:
    """Whether an execution is stricken; if so, it is marked, and it must not be scheduled."""
    strikes = docket.strike_list
    if strikes.is_empty or not strikes.is_stricken(execution):
        return False
    execution.disposition = Disposition.STRUCK
    logger.warning(
        "%r is stricken, skipping schedule of %r", execution.function_name, execution.key
    )
    return True
