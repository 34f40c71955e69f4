"""Executions claimed and ended by hand, as a worker does it with its own runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from docket.clock import aware, from_microseconds, stored
from docket.execution.progress import BEGUN, NOTHING
from docket.lifecycle import ExecutionState
from docket.serialization.pickle_codec import MAX_MESSAGE
from docket.store.keys import check_task_key
from docket.store.manual import Content, Mark, RunIdentity

if TYPE_CHECKING:
    from docket.execution import Execution


async def claim(execution: Execution, worker: str) -> bool:
    """Mark an execution running; see Execution.claim."""
    held = await execution.docket.transitions.manual.claim(
        _identity(execution), worker, partial(_content, execution)
    )
    if held is None:
        return False
    execution.generation, execution.attempt = held.generation, held.attempt
    execution.message_id = held.entry
    execution.see_when(held.when)
    execution.mark_running(worker, held.started_at)
    execution.progress.show(BEGUN)
    return True


async def mark(
    execution: Execution, state: Mark, error: str | None = None, result_key: str | None = None
) -> None:
    """End an execution; see Execution.mark_as_completed."""
    error = error and error[:MAX_MESSAGE]
    marked = await execution.docket.transitions.manual.mark(
        _identity(execution), state, error or "", result_key or "", partial(_content, execution)
    )
    if marked is None:
        return  # A newer execution has the record, or this one has ended already.
    execution.state, execution.generation = ExecutionState(state), marked.generation
    execution.completed_at = from_microseconds(marked.completed_at)
    execution.error, execution.result_key = error, result_key
    execution.progress.show(NOTHING)


def _identity(execution: Execution) -> RunIdentity:
    check_task_key(execution.key)
    return RunIdentity(execution.key, execution.generation, execution.message_id or "")


def _content(execution: Execution) -> Content:
    return Content(
        execution.function_name,
        execution.docket.serializer.encode_call(
            execution.function, execution.args, execution.kwargs
        ),
        stored(aware("when", execution.when)),
        execution.attempt,
    )
