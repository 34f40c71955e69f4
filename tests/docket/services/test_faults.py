"""Faults around the body of a perpetual task: its chain goes on."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from docket import Cron, Docket, ExecutionState, Perpetual, Worker
from docket.dependencies import FailureHandler, TaskOutcome
from docket.errors import DeserializationError
from docket.execution import Execution
from docket.services import faults, unknown_tasks
from tests.support.dockets import at_work, failure_of, finish, found
from tests.support.store import until

pytestmark = pytest.mark.anyio

OFTEN = timedelta(milliseconds=20)


@pytest.fixture
def newer() -> Iterator[ModuleType]:
    """A module that only newer code has, as long as it is in `sys.modules`."""
    module = ModuleType("newer_code")
    exec("class Cursor:\n    pass\n", module.__dict__)
    sys.modules[module.__name__] = module
    yield module
    sys.modules.pop(module.__name__, None)


@pytest.mark.parametrize("perpetual", [Perpetual(every=OFTEN), Cron("* * * * *", automatic=False)])
async def test_arguments_that_cannot_be_read_here_are_left_to_others(
    docket: Docket,
    newer: ModuleType,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    perpetual: Any,
) -> None:
    monkeypatch.setattr(faults, "DEFERRAL_SECONDS", (0.05, 0.1))
    seen: list[object] = []

    async def follow(cursor: object, p: Any = perpetual) -> None:
        seen.append(cursor)

    await docket.add(follow, key="follow")(newer.Cursor())
    del sys.modules[newer.__name__]
    async with at_work(Worker(docket)):
        await until(lambda: caplog.text.count("cannot be read here") >= 2)
    assert seen == []

    sys.modules[newer.__name__] = newer
    async with at_work(Worker(docket)):
        await until(lambda: bool(seen))
    assert isinstance(seen[0], newer.Cursor)
    assert "'follow'" in caplog.text


async def test_after_a_while_the_run_fails_and_the_next_one_follows(
    docket: Docket, newer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "PATIENCE_SECONDS", 0)
    assert unknown_tasks.PATIENCE_SECONDS > 0
    ran: list[object] = []

    async def follow(cursor: object, p: Perpetual = Perpetual(every=OFTEN)) -> None:
        ran.append(cursor)

    await docket.add(follow, key="follow")(newer.Cursor())
    del sys.modules[newer.__name__]
    async with at_work(Worker(docket)) as worker:
        await until(lambda: worker.counters.failed >= 2)
    assert (await docket.transitions.fetch("follow"))[b"state"] in (b"scheduled", b"queued")

    sys.modules[newer.__name__] = newer
    async with at_work(Worker(docket)):
        await until(lambda: len(ran) >= 2)


async def test_a_task_that_runs_once_fails_for_what_cannot_be_read(
    docket: Docket, newer: ModuleType
) -> None:
    async def once(cursor: object) -> None: ...

    execution = await docket.add(once)(newer.Cursor())
    del sys.modules[newer.__name__]
    await finish(docket)
    assert isinstance(await failure_of(execution), DeserializationError)


class BrokenHandler(FailureHandler[Any]):
    async def __aenter__(self) -> "BrokenHandler":
        return self

    async def handle_failure(self, execution: Execution, outcome: TaskOutcome) -> bool:
        raise LookupError("the handler is broken")


class BrokenDue(Perpetual):
    def due_after(self, execution: Execution, outcome: TaskOutcome) -> Any:
        raise LookupError("no calendar")


async def test_a_broken_handler_does_not_end_the_chain(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    async def again(
        p: Perpetual = Perpetual(every=OFTEN), h: BrokenHandler = BrokenHandler()
    ) -> None:
        raise ValueError("the task")

    await docket.add(again, key="again")()
    async with at_work(Worker(docket)) as worker:
        await until(lambda: worker.counters.failed >= 3)
    assert (await found(docket, "again")).generation >= 4
    assert "the handler is broken" in caplog.text


async def test_a_schedule_that_cannot_be_told_does_not_end_the_chain(docket: Docket) -> None:
    async def again(p: BrokenDue = BrokenDue()) -> None: ...

    await docket.add(again, key="again")()
    async with at_work(Worker(docket)) as worker:
        await until(lambda: worker.counters.failed == 1)
    execution = await found(docket, "again")
    assert (execution.state, execution.generation) == (ExecutionState.SCHEDULED, 2)
