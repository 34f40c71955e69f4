"""A worker that does not know a perpetual task leaves it to those that do."""

from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest

from docket import Docket, ExecutionState, Perpetual, Worker
from docket.errors import ServerUnavailable
from docket.lifecycle import Deferred, Requeued
from docket.services import first_seen, unknown_tasks
from docket.services.unknown_tasks import UnknownTasks
from docket.store.claims import Claim
from tests.support.dockets import at_work, found, result_of
from tests.support.store import until

pytestmark = pytest.mark.anyio

LONG = timedelta(hours=1)


@pytest.fixture
async def old(server: str, docket_name: str) -> AsyncGenerator[Docket]:
    """The docket as the old version of the program knows it: without the task."""
    async with Docket(docket_name, server) as docket:
        yield docket


async def newest(perpetual: Perpetual = Perpetual(every=LONG)) -> None: ...


def claim_of(key: str) -> Claim:
    return Claim(key.encode(), b"s1-1", b"1", b"newest", b"", 0, 1, 0, None, None, 0)


async def test_it_is_put_back_and_run_by_a_worker_that_knows_it(
    docket: Docket, old: Docket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unknown_tasks, "DEFERRAL_SECONDS", (0.05, 0.1))
    await docket.add(newest, key="k")()

    async with at_work(Worker(old)) as old_worker:
        await until(lambda: "left to workers that know it" in caplog.text)
        async with at_work(Worker(docket)) as new_worker:
            await until(lambda: new_worker.counters.perpetuated == 1, "a run by who knows it")

    execution = await found(docket, "k")
    assert (execution.state, execution.generation) == (ExecutionState.SCHEDULED, 2)
    assert old_worker.counters.failed == old_worker.counters.retried == 0


async def test_an_ordinary_task_is_dropped_as_ever(docket: Docket, old: Docket) -> None:
    async def ordinary() -> None: ...

    execution = await docket.add(ordinary, key="k")()
    async with at_work(Worker(old)):
        assert await result_of(execution) is None


async def test_one_that_a_live_worker_knows_is_kept_without_end(
    docket: Docket, old: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unknown_tasks, "PATIENCE_SECONDS", 0.0)
    await docket.add(newest, key="k")()
    await docket.transitions.register("who-knows", ["newest"], LONG)

    assert await UnknownTasks(old).kept(claim_of("k")) == Deferred(1.0)


async def test_one_that_nobody_knows_any_more_is_dropped_in_the_end(
    docket: Docket, old: Docket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(first_seen, "monotonic", lambda: clock[0])
    execution = await docket.add(newest, key="k")()
    unknown = UnknownTasks(old)

    assert await unknown.kept(claim_of("k")) == Deferred(1.0)
    clock[0] += 20
    assert await unknown.kept(claim_of("k")) == Deferred(20.0)
    clock[0] += 100
    assert await unknown.kept(claim_of("k")) == Deferred(60.0)
    clock[0] += unknown_tasks.PATIENCE_SECONDS
    assert await unknown.kept(claim_of("k")) is None

    monkeypatch.setattr(unknown_tasks, "PATIENCE_SECONDS", 0.0)
    async with at_work(Worker(old)):
        assert await result_of(execution) is None
    assert "Unknown task 'newest' received - dropping." in caplog.text


async def test_when_the_server_cannot_be_asked_it_is_requeued(
    old: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(key: str) -> None:
        raise ServerUnavailable("gone")

    monkeypatch.setattr(old.transitions, "fetch", away)

    assert await UnknownTasks(old).kept(claim_of("k")) == Requeued()


async def test_a_fallback_task_has_it_if_there_is_one(docket: Docket, old: Docket) -> None:
    seen: list[str] = []

    async def fallback() -> None:
        seen.append("fallback")

    execution = await docket.add(newest, key="k")()
    async with at_work(Worker(old, fallback_task=fallback)) as worker:
        await until(lambda: worker.counters.succeeded == 1)
    assert seen == ["fallback"]
    await execution.sync()
    assert execution.state is ExecutionState.COMPLETED
