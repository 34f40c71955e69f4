"""The lines of the log about runs: their arrows, levels, loggers and attributes."""

import asyncio
import logging
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, Any

import pytest

from docket import (
    ConcurrencyLimit,
    Cooldown,
    CurrentDocket,
    CurrentExecution,
    Docket,
    Execution,
    Logged,
    Perpetual,
    RateLimit,
    Retry,
    Worker,
)
from docket.clock import now
from docket.dependencies import AdmissionBlocked, CompletionHandler, Dependency, FailureHandler
from tests.support.dockets import Gate, at_work, finish, soon
from tests.support.store import until

pytestmark = pytest.mark.anyio

FOUR = ("docket.name", "docket.worker", "docket.queue_key", "docket.stream_key")
OF_A_RUN = (*FOUR, "docket.task", "docket.key", "docket.when", "docket.attempt", "punctuality")


class Lines:
    """What was logged about runs."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def records(self) -> list[logging.LogRecord]:
        return [r for r in self._caplog.records if r.getMessage()[0] in "↪↬↩↫✗🗙"]

    def shown(self) -> list[str]:
        """`LEVEL LOGGER: MESSAGE (EXCEPTION)`, without the numbers of durations."""
        return [_shown(record) for record in self.records()]


def _shown(record: logging.LogRecord) -> str:
    message = re.sub(r"\[ *-?\d+(ms|s )\]", "[]", record.getMessage())
    error = record.exc_info[1] if record.exc_info else None
    told = f" {error!r}" if error is not None else ""
    return f"{record.levelname} {record.name.removeprefix('docket.')}: {message}{told}"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    with caplog.at_level(logging.INFO, "docket"):
        yield Lines(caplog)


@pytest.mark.statement(16)
async def test_a_failed_attempt_is_an_error_and_then_said_to_be_followed(
    docket: Docket, lines: Lines
) -> None:
    async def fails(retry: Retry = Retry(attempts=3)) -> None:
        raise ValueError(retry.attempt)

    await docket.add(fails, key="k")()
    await finish(docket)

    assert lines.shown() == [
        "INFO worker: ↪ [] fails(){k}",
        "ERROR dependencies: ↩ [] fails(){k} ValueError(1)",
        "INFO dependencies: ↫ [] fails(){k}",
        "INFO worker: ↬ [] fails(){k}",
        "ERROR dependencies: ↩ [] fails(){k} ValueError(2)",
        "INFO dependencies: ↫ [] fails(){k}",
        "INFO worker: ↬ [] fails(){k}",
        "ERROR worker: ↩ [] fails(){k} ValueError(3)",
    ]
    for record in lines.records():
        has_attributes = all(name in record.__dict__ for name in OF_A_RUN)
        assert has_attributes == (record.name == "docket.worker")


@pytest.mark.statement(16)
async def test_a_forced_retry_is_a_failed_attempt(docket: Docket, lines: Lines) -> None:
    async def forced(how: str, retry: Retry = Retry(attempts=2)) -> None:
        if how == "after":
            retry.after(timedelta(0))
        retry.at(now())

    for how in ("after", "at"):
        await docket.add(forced, key=how)(how)
    await finish(docket)

    for how in ("after", "at"):
        shown = [
            line.partition(" ForcedRetry")[0] for line in lines.shown() if f"{{{how}}}" in line
        ]
        assert shown == [
            f"INFO worker: ↪ [] forced(...){{{how}}}",
            f"ERROR dependencies: ↩ [] forced(...){{{how}}}",
            f"INFO dependencies: ↫ [] forced(...){{{how}}}",
            f"INFO worker: ↬ [] forced(...){{{how}}}",
            f"ERROR worker: ↩ [] forced(...){{{how}}}",
        ]


@pytest.mark.statement(16)
async def test_errors_are_logged_where_no_information_is(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(retry: Retry = Retry(attempts=2)) -> None:
        raise ValueError

    await docket.add(fails, key="k")()
    with caplog.at_level(logging.WARNING, "docket"):
        await finish(docket)

    shown = Lines(caplog).shown()
    assert [line.partition(" [")[0] for line in shown] == [
        "ERROR dependencies: ↩",
        "ERROR worker: ↩",
    ]


@pytest.mark.statement(17)
async def test_a_perpetual_task_is_followed_also_after_a_failure(
    docket: Docket, lines: Lines
) -> None:
    async def task(fail: bool, perpetual: Perpetual = Perpetual()) -> None:
        perpetual.perpetuate(True)
        if fail:
            raise ValueError("once")

    await docket.add(task, key="k")(False)
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"k": 3}))

    assert lines.shown()[:5] == [
        "INFO worker: ↪ [] task(...){k}",
        "INFO dependencies: ↫ [] task(...){k}",
        "INFO worker: ↪ [] task(...){k}",
        "ERROR dependencies: ↩ [] task(...){k} ValueError('once')",
        "INFO dependencies: ↫ [] task(...){k}",
    ]


@pytest.mark.statement(17)
async def test_a_cancelled_run_is_crossed_out(
    docket: Docket, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()

    async def hold() -> None:
        await gate.pass_through()

    await docket.add(hold, key="k")()
    async with at_work(Worker(docket, name="w")):
        await soon(gate.reached.wait())
        await docket.cancel("k")
        await until(lambda: "(cancelled)" in caplog.text)

    assert lines.shown()[1:] == ["INFO worker: ✗ [] hold(){k} (cancelled)"]
    [cancelling] = [r for r in caplog.records if r.getMessage() == "Cancelling running task 'k'"]
    assert (cancelling.name, cancelling.levelno) == ("docket.worker", logging.INFO)
    assert all(name in cancelling.__dict__ for name in FOUR)
    assert caplog.messages.index(cancelling.getMessage()) < len(caplog.messages) - 1


@pytest.mark.statement(17)
@pytest.mark.parametrize("follower", [Perpetual(), Retry(attempts=3)], ids=["perpetual", "retry"])
async def test_a_run_whose_key_was_replaced_is_superseded_and_followed_by_none(
    docket: Docket, lines: Lines, follower: Any
) -> None:
    async def newer() -> None: ...

    async def older(
        docket: Docket = CurrentDocket(),
        execution: Execution = CurrentExecution(),
        follower: object = follower,
    ) -> None:
        await docket.replace(newer, now(), execution.key)()
        if isinstance(follower, Retry):
            raise ValueError("in vain")

    await docket.add(older, key="k")()
    await finish(docket)

    shown = lines.shown()
    assert "INFO dependencies: ↬ [] older(){k} (superseded)" in shown
    assert not [line for line in shown if "↫" in line]
    # A renewal may stop it before it has raised.
    assert [line for line in shown if "ERROR" in line] in (
        [],
        ["ERROR dependencies: ↩ [] older(){k} ValueError('in vain')"],
    )


class Blocking(Dependency[None]):
    """Blocks the first run."""

    def __init__(self, *, reschedule: bool) -> None:
        self._reschedule = reschedule
        self.runs = 0

    async def __aenter__(self) -> None:
        self.runs += 1
        if self.runs == 1:
            raise AdmissionBlocked(self.execution.get(), "closed", reschedule=self._reschedule)


@pytest.mark.statement(17)
@pytest.mark.parametrize("reschedule", [False, True])
async def test_a_run_that_a_dependency_blocks_has_no_line_of_its_end(
    docket: Docket, lines: Lines, reschedule: bool
) -> None:
    async def blocked(gate: None = Blocking(reschedule=reschedule)) -> None: ...  # type: ignore[assignment]

    await docket.add(blocked, key="k")()
    worker = await finish(docket)

    shown = [line for line in lines.shown() if "↪" not in line]
    assert shown == (["INFO worker: ↩ [] blocked(){k}"] if reschedule else [])
    assert (worker.counters.failed, worker.counters.retried) == (0, 0)


@pytest.mark.statement(17)
@pytest.mark.parametrize(
    "limit",
    [
        Cooldown(timedelta(hours=1)),
        RateLimit(1, per=timedelta(hours=1), drop=True),
    ],
    ids=["cooldown", "rate"],
)
async def test_what_a_limit_drops_is_told_only_to_who_debugs(
    docket: Docket, lines: Lines, caplog: pytest.LogCaptureFixture, limit: Any
) -> None:
    async def limited(limit: object = limit) -> None: ...

    await docket.add(limited, key="first")()
    await finish(docket)
    await docket.add(limited, key="dropped")()
    caplog.set_level(logging.DEBUG, "docket.worker")
    await finish(docket)

    [told] = [record for record in caplog.records if "{dropped} was" in record.getMessage()]
    assert (told.name, told.levelno) == ("docket.worker", logging.DEBUG)
    assert all(name in told.__dict__ for name in OF_A_RUN)


@pytest.mark.statement(17)
async def test_what_waits_for_a_slot_is_told_only_to_who_debugs(
    docket: Docket, lines: Lines
) -> None:
    gate = Gate()

    async def limited(limit: ConcurrencyLimit = ConcurrencyLimit()) -> None:
        await gate.pass_through()

    await docket.add(limited, key="first")()
    await docket.add(limited, key="second")()
    async with at_work(Worker(docket)) as worker:
        await soon(gate.reached.wait())
        gate.opened.set()
        await until(lambda: worker.counters.succeeded == 2)

    assert len(lines.shown()) == 4


class Completion(CompletionHandler[None]):
    """Says that it has taken care of the end."""

    async def __aenter__(self) -> None: ...

    async def on_complete(self, execution: Any, outcome: Any) -> bool:
        return True


class Failure(FailureHandler[None]):
    """Says that it has taken care of the failure."""

    async def __aenter__(self) -> None: ...

    async def handle_failure(self, execution: Any, outcome: Any) -> bool:
        return True


@pytest.mark.statement(17)
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("handler", [Completion, Failure])
async def test_a_handler_that_took_care_of_the_end_has_done_its_own_logging(
    docket: Docket, lines: Lines, handler: Any, fails: bool
) -> None:
    async def handled(handler: None = handler()) -> None:
        if fails:
            raise ValueError

    await docket.add(handled, key="k")()
    await finish(docket)

    expected = ["INFO worker: ↪ [] handled(){k}"]
    if handler is Failure and not fails:
        expected.append("INFO worker: ↩ [] handled(){k}")
    assert lines.shown() == expected


@pytest.mark.statement(19)
async def test_every_line_about_a_run_says_which_and_where(docket: Docket, lines: Lines) -> None:
    async def fine(a: Annotated[int, Logged], b: int) -> None: ...

    async def fails() -> None:
        raise ValueError

    executions = [
        await docket.add(fine, key="k-fine")(1, b=2),
        await docket.add(fails, key="k-bad")(),
    ]
    await docket.strike("fine", "a", "==", 7)
    await finish(docket, name="w")

    for execution in executions:
        start, end = (r for r in lines.records() if execution.key in r.getMessage())
        for record in (start, end):
            attributes = record.__dict__
            assert {name: attributes[name] for name in OF_A_RUN[:-1]} == {
                "docket.name": docket.name,
                "docket.worker": "w",
                "docket.queue_key": docket.queue_key,
                "docket.stream_key": docket.stream_key,
                "docket.task": execution.function_name,
                "docket.key": execution.key,
                "docket.when": attributes["docket.when"],
                "docket.attempt": 1,
            }
            assert datetime.fromisoformat(attributes["docket.when"]).tzinfo is not None
            assert isinstance(attributes["punctuality"], float)
        assert "duration" not in start.__dict__
        assert 0 <= end.__dict__["duration"] < 60


@pytest.mark.statement(19)
async def test_a_stricken_and_an_unreadable_task_say_so_too(
    docket: Docket, server: str, lines: Lines
) -> None:
    async def struck() -> None: ...

    async def unreadable() -> None: ...

    docket.register(unreadable)
    await docket.add(struck, key="struck")()
    await docket.add(unreadable, key="unreadable")()
    await docket.strike(struck)
    async with docket.redis() as redis:
        await redis.hset(docket.runs_key("unreadable"), "call", b"no payload")
    await finish(docket, name="w")

    shown = lines.shown()
    assert "WARNING worker: 🗙 struck(){struck}" in shown
    assert any(line.startswith("ERROR worker: ↩ [] unreadable(...){unreadable}") for line in shown)
    for record in lines.records():
        assert all(name in record.__dict__ for name in OF_A_RUN)


@pytest.mark.statement(19)
async def test_the_end_of_a_worker_says_which(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "docket.worker")
    gate = Gate()

    async def hold() -> None:
        await gate.pass_through()

    await docket.add(hold)()
    worker = Worker(docket, name="w")
    async with at_work(worker):
        await soon(gate.reached.wait())
        worker.drain()
        gate.opened.set()

    [record] = [r for r in caplog.records if "Shutdown requested" in r.getMessage()][:1]
    assert [record.__dict__[name] for name in FOUR] == [
        docket.name,
        "w",
        docket.queue_key,
        docket.stream_key,
    ]


@pytest.mark.statement(50)
async def test_labels_and_calls_are_those_of_the_log(docket: Docket) -> None:
    async def send(to: Annotated[str, Logged], text: str, *, times: int = 1) -> None: ...

    later = now() + timedelta(hours=1)
    execution = await docket.add(send, later, key="k")("ann", text="secret")
    assert docket.labels() == {"docket.name": docket.name}
    assert Worker(docket, name="w").labels() == {"docket.name": docket.name, "docket.worker": "w"}
    assert execution.general_labels() == {"docket.task": "send"}
    assert execution.specific_labels() == {
        "docket.task": "send",
        "docket.key": "k",
        "docket.when": execution.when.isoformat(),
        "docket.attempt": 1,
    }
    assert execution.call_repr() == "send('ann', text=...){k}"
    assert (execution.get_argument("to"), execution.get_argument("text")) == ("ann", "secret")
    for missing in ("times", "nowhere"):
        with pytest.raises(KeyError, match=missing):
            execution.get_argument(missing)


async def test_a_run_is_described_although_an_argument_cannot_be(docket: Docket) -> None:
    class Broken:
        def __repr__(self) -> str:
            raise asyncio.CancelledError

    async def task(broken: Annotated[Any, Logged]) -> None: ...

    execution = Execution(docket, task, (Broken(),), {}, "k\n", now(), 1)

    assert execution.call_repr() == r"task(<cannot be shown: CancelledError>){k\n}"
