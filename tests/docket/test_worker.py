"""Worker: how much it runs at once, in which order, when, with whom, and what it says of it."""

import asyncio
import logging
import os
import re
import socket
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

import pytest

from docket import (
    ConcurrencyLimit,
    CurrentExecution,
    CurrentWorker,
    Docket,
    Execution,
    Logged,
    Retry,
    Worker,
)
from docket.errors import DocketError
from docket.worker import default_fallback_task
from tests.support.dockets import PATIENCE, Gate, Told, at_work, failure_of, finish, result_of, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio


class Crowd:
    """How many are in a task at once; each leaves when the test lets it."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self.changed = asyncio.Condition()
        self.may_leave = 0

    async def visit(self) -> None:
        async with self.changed:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.changed.notify_all()
            await self.changed.wait_for(lambda: self.may_leave > 0)
            self.may_leave -= 1
            self.inside -= 1
            self.changed.notify_all()

    async def fills_up_to(self, count: int) -> None:
        async with self.changed:
            await soon(self.changed.wait_for(lambda: self.inside == count))

    async def retire(self, count: int) -> None:
        async with self.changed:
            self.may_leave += count
            self.changed.notify_all()


async def nothing() -> None: ...


class Item: ...


@pytest.mark.statement(8)
async def test_each_run_begins_by_telling_what_the_worker_can_run(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    async def plain() -> None: ...

    async def given(  # type: ignore[no-untyped-def]
        a,
        b: int,
        item: Item,
        c=3,
        d: int = 4,
        *,
        e: Annotated[str, Logged] = "x",
        f: int | None = None,
    ) -> None: ...

    async def injected(
        message: Annotated[str, Logged],
        execution: Execution = CurrentExecution(),
        retry: Retry = Retry(attempts=2),
    ) -> None: ...

    async def only_injected(worker: Worker = CurrentWorker()) -> None: ...

    async def limited(customer: Annotated[int, ConcurrencyLimit(1)]) -> None: ...

    def by_text(name: "Annotated[str, Logged]", when: "datetime", unknown: "Nowhere") -> None: ...  # type: ignore[name-defined] # noqa: F821 # pyright: ignore[reportUndefinedVariable]

    for function in (plain, given, injected, only_injected, limited):
        docket.register(function)
    docket.register(by_text)  # type: ignore[arg-type]
    docket.register(given, names=["alias", "another"])
    caplog.set_level(logging.INFO, "docket.worker")
    everything = "a, b: int, item: Item, c = 3, d: int = 4, e: str = 'x', f: int | None = None"
    async with Worker(docket, name="teller") as worker:
        for run in (
            worker.run_until_finished,
            partial(worker.run_at_most, {}),
            worker.run_until_finished,
        ):
            caplog.clear()
            await soon(run())

            assert caplog.messages == [
                "Starting worker 'teller' with the following tasks:",
                "* trace(message: str, ...)",
                "* fail(message: str, ...)",
                "* sleep(seconds: float, ...)",
                "* plain()",
                f"* given({everything})",
                "* injected(message: str, ...)",
                "* only_injected(...)",
                "* limited(customer: int)",
                "* by_text(name: str, when: datetime, unknown: Nowhere)",
                f"* alias({everything})",
                f"* another({everything})",
            ]
            assert {record.name for record in caplog.records} == {"docket.worker"}


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0},
        {"message_batch": 0},
        {"redelivery_timeout": timedelta(0)},
    ],
)
async def test_options_that_make_no_sense_are_refused(
    docket: Docket, options: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Worker(docket, **options)  # type: ignore[arg-type]


async def test_the_options_are_attributes_and_have_their_defaults(docket: Docket) -> None:
    worker = Worker(docket)

    assert worker.docket is docket
    assert worker.name == f"{socket.gethostname()}#{os.getpid()}"
    assert worker.concurrency == 10
    assert worker.redelivery_timeout == timedelta(minutes=5)
    assert worker.reconnection_delay == timedelta(seconds=5)
    assert worker.minimum_check_interval == timedelta(milliseconds=250)
    assert worker.scheduling_resolution == timedelta(milliseconds=250)
    assert worker.schedule_automatic_tasks is True
    assert worker.enable_internal_instrumentation is False
    assert worker.fallback_task is default_fallback_task
    assert worker.message_batch == 1000
    assert worker.loop_lag_seconds == 0.0


async def test_a_consumer_is_named_after_its_worker_and_like_no_other(docket: Docket) -> None:
    one, other = Worker(docket, name="w"), Worker(docket, name="w")

    assert re.fullmatch(r"w\.[0-9a-f]{8}", one.consumer)
    assert one.consumer != other.consumer
    assert repr(one) == f"<Worker 'w' of {docket!r}>"


async def test_a_worker_runs_once_at_a_time(docket: Docket) -> None:
    async with Worker(docket) as worker, at_work(worker):
        with pytest.raises(DocketError, match="is running already"):
            await worker.run_until_finished()

    await soon(worker.run_until_finished())


async def test_a_worker_of_a_docket_that_is_not_open_says_so(docket_name: str) -> None:
    worker = Worker(Docket(docket_name))

    with pytest.raises(DocketError, match="is not open: use it inside `async with`"):
        await worker.run_forever()


async def test_a_worker_that_does_not_run_can_be_told_things_to_no_effect(docket: Docket) -> None:
    worker = Worker(docket)

    worker.drain(1)
    worker.appoint_steward(False)
    worker.set_concurrency(3)

    assert worker.running_tasks() == []
    await docket.add(nothing)()
    await soon(worker.run_until_finished())
    assert worker.counters.succeeded == 1


async def test_no_more_run_at_once_than_the_concurrency_and_no_less_if_there_are(
    docket: Docket,
) -> None:
    crowd = Crowd()
    for _ in range(7):
        await docket.add(crowd.visit)()

    async with Worker(docket, concurrency=3) as worker, at_work(worker):
        await crowd.fills_up_to(3)
        await crowd.retire(2)
        await crowd.fills_up_to(3)
        await crowd.retire(5)
        await soon(asyncio.create_task(_until_idle(docket)))

    assert crowd.most == 3


async def _until_idle(docket: Docket) -> None:
    marker = await docket.add(nothing)()
    await result_of(marker)


async def test_the_concurrency_can_be_changed_while_it_runs(docket: Docket) -> None:
    crowd = Crowd()
    executions = [await docket.add(crowd.visit)() for _ in range(10)]

    async with Worker(docket, concurrency=2) as worker, at_work(worker):
        await crowd.fills_up_to(2)
        worker.set_concurrency(4)
        await crowd.fills_up_to(4)
        worker.set_concurrency(1)
        await crowd.retire(3)
        await crowd.fills_up_to(1)
        assert worker.concurrency == 1
        with pytest.raises(ValueError, match="concurrency must be at least 1"):
            worker.set_concurrency(0)
        await crowd.retire(7)
        await asyncio.gather(*map(result_of, executions))

    assert crowd.most == 4


async def test_tasks_are_claimed_in_the_order_they_were_added(docket: Docket) -> None:
    order: list[int] = []

    async def note(n: int) -> None:
        order.append(n)

    await asyncio.gather(*[docket.add(note)(n) for n in range(300)])
    await finish(docket, concurrency=1)

    assert order == list(range(300))


async def test_two_workers_share_the_work_and_each_task_runs_once(
    docket: Docket, server: str
) -> None:
    runs: Counter[int] = Counter()
    everyone_is_in = asyncio.Barrier(20)

    async def meet(n: int, worker: Worker = CurrentWorker()) -> str:
        runs[n] += 1
        await everyone_is_in.wait()
        return worker.name

    async with (
        Worker(docket, name="a", concurrency=10) as a,
        Worker(docket, name="b", concurrency=10) as b,
        at_work(a),
        at_work(b),
    ):
        executions = await asyncio.gather(*[docket.add(meet)(n) for n in range(100)])
        names = Counter(await asyncio.gather(*map(result_of, executions)))

    assert runs == dict.fromkeys(range(100), 1)
    assert names == {"a": 50, "b": 50}
    assert a.counters.succeeded == b.counters.succeeded == 50


async def test_a_delayed_task_runs_no_earlier_than_it_is_due_and_soon_after(
    docket: Docket,
) -> None:
    async def late(execution: Execution = CurrentExecution()) -> timedelta:
        assert execution.started_at is not None
        return execution.started_at - execution.when

    async with Worker(docket, concurrency=20) as worker, at_work(worker):
        start = datetime.now(UTC)
        executions = [
            await docket.add(late, when=start + timedelta(milliseconds=30 * n))() for n in range(8)
        ]
        # The last first: an earlier one that arrives wakes who sleeps until a later one.
        executions.append(await docket.add(late, when=start + timedelta(milliseconds=15))())
        lateness = await asyncio.gather(*map(result_of, executions))

    assert min(lateness) >= timedelta(0)
    # A poll would take a quarter of a second on average; this leaves room for a busy machine.
    assert sorted(lateness)[len(lateness) // 2] < timedelta(milliseconds=200)


async def test_until_finished_means_scheduled_tasks_and_their_retries_too(docket: Docket) -> None:
    async def fails_once(
        retry: Retry = Retry(attempts=2, delay=timedelta(milliseconds=20)),
    ) -> int:
        if retry.attempt == 1:
            raise ValueError("at first")
        return retry.attempt

    execution = await docket.add(fails_once, when=datetime.now(UTC) + timedelta(milliseconds=50))()
    worker = await finish(docket)

    assert await result_of(execution) == 2
    assert (worker.counters.started, worker.counters.retried) == (2, 1)


async def test_until_finished_waits_for_what_another_worker_runs(docket: Docket) -> None:
    gate = Gate()
    async with Worker(docket) as busy, at_work(busy):
        execution = await docket.add(gate.pass_through)()
        await soon(gate.reached.wait())

        other = asyncio.create_task(Worker(docket).run_until_finished())
        await until(lambda: has_workers(docket, 2))
        await result_of(await docket.add(nothing)())
        assert not other.done()
        gate.opened.set()
        await result_of(execution)

        await soon(other)


async def has_workers(docket: Docket, count: int) -> bool:
    return len(await docket.transitions.beats()) == count


async def test_what_runs_is_told_oldest_first(docket: Docket) -> None:
    gate = Gate()
    begun = time.monotonic()

    async with Worker(docket) as worker, at_work(worker):
        docket.register(gate.pass_through, names=["waits"])
        for key in ("a", "b"):
            gate.reached.clear()
            await docket.add("waits", key=key)()
            await soon(gate.reached.wait())

        tasks = worker.running_tasks()
        gate.opened.set()

    assert [(task.key, task.function) for task in tasks] == [("a", "waits"), ("b", "waits")]
    assert begun <= tasks[0].started_at <= tasks[1].started_at <= time.monotonic()


async def test_what_happened_is_counted(docket: Docket) -> None:
    async def fails(retry: Retry = Retry(attempts=3)) -> None:
        raise ValueError("always")

    async with Worker(docket) as worker, at_work(worker):
        assert await result_of(await docket.add(nothing)()) is None
        await failure_of(await docket.add(fails)())

    counters = worker.counters
    assert (counters.started, counters.succeeded, counters.failed) == (4, 1, 3)
    assert (counters.retried, counters.cancelled, counters.superseded) == (2, 0, 0)
    assert sum(counters.duration.counts) == 4
    assert sum(counters.punctuality.counts) == 4
    assert counters.duration.sum > 0


async def logged_task(
    customer: Annotated[int, Logged],
    secret: str,
    items: Annotated[list[int], Logged(length_only=True)],
) -> None:
    if not items:
        raise ValueError("nothing to do")


async def test_a_run_is_logged_with_its_logged_arguments_and_durations(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    await docket.add(logged_task, key="k")(7, "hunter2", items=[1, 2])
    with caplog.at_level(logging.INFO, "docket.worker"):
        await finish(docket)

    lines = [line for line in caplog.messages if line[0] in "↪↩"]
    assert [re.sub(r"\[ *\d+ms\]", "[]", line) for line in lines] == [
        "↪ [] logged_task(7, ..., items=[len 2]){k}",
        "↩ [] logged_task(7, ..., items=[len 2]){k}",
    ]
    assert "hunter2" not in caplog.text


async def test_a_key_and_arguments_cannot_forge_lines_of_the_log(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    await docket.add(logged_task, key="k\n\x1b[2J")(7, "hunter2", items=[1])
    with caplog.at_level(logging.INFO, "docket.worker"):
        await finish(docket)

    assert r"{k\n\x1b[2J}" in caplog.text
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize("level", [logging.WARNING, logging.INFO])
async def test_a_failure_is_logged_with_its_traceback_at_every_level(
    docket: Docket, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    await docket.add(logged_task, key="k")(7, "hunter2", items=[])
    with caplog.at_level(level, "docket.worker"):
        await finish(docket)

    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert re.fullmatch(
        r"↩ \[ *\d+ms\] logged_task\(7, ..., items=\[len 0\]\){k}", record.getMessage()
    )
    assert record.exc_info is not None
    assert repr(record.exc_info[1]) == "ValueError('nothing to do')"


async def test_a_task_that_is_long_overdue_is_logged_so_in_seconds(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    await docket.add(nothing, when=datetime.now(UTC) - PATIENCE)()
    with caplog.at_level(logging.INFO, "docket.worker"):
        await finish(docket)

    assert re.search(r"↪ \[ 2\d{4}ms\] nothing\(\)", caplog.text)


async def test_a_worker_is_announced_while_it_works_and_not_after(docket: Docket) -> None:
    told = Told()

    async with Worker(docket) as worker, at_work(worker, told):
        assert worker.consumer.encode() in await docket.transitions.beats()

    assert await docket.transitions.beats() == {}
    assert told.is_draining.is_set()


async def test_a_running_worker_measures_the_lag_of_its_loop(docket: Docket) -> None:
    async with Worker(docket) as worker, at_work(worker):
        assert await result_of(await docket.add(nothing)()) is None
        assert worker.loop_lag_seconds >= 0.0
