"""Tasks of every kind, each a short story with a known end, for walks over crash points.

A task writes a line to a ledger outside the docket when it begins and when it ends: "KEY STEP",
its steps counted from 1. How far a story is told by its record too: generations and attempts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from docket import (
    ConcurrencyLimit,
    Cron,
    CurrentDocket,
    CurrentExecution,
    Debounce,
    Docket,
    Execution,
    ExecutionState,
    Perpetual,
    Retry,
    Worker,
)
from tests.support.store import until

LATER = timedelta(hours=1)


class Ledger:
    """Lines in a file, each written in one piece, so that a killed process leaves whole ones."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def note(self, what: str) -> None:
        # No fsync: what a process has written stays, however it ends.
        with self.path.open("a") as file:
            file.write(what + "\n")

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()

    def begun(self) -> list[str]:
        """The steps that began, in order, as often as they did."""
        return [line.removeprefix("begin ") for line in self.lines() if line.startswith("begin ")]

    def overlaps(self, *keys: str) -> bool:
        """Whether two of these keys ran at once; what was killed does not run any more."""
        inside = set[str]()
        for line in self.lines():
            what, _, step = line.partition(" ")
            key = step.split()[0] if step else ""
            if what == "killed":
                inside.clear()
            elif key in keys and what == "begin":
                inside.add(key)
            elif key in keys:
                inside.discard(key)
            if len(inside) > 1:
                return True
        return False


class Stories:
    """The tasks, which write to one ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def _step(self, key: str, step: int) -> None:
        self._ledger.note(f"begin {key} {step}")
        # A task that never waits ends in the turn of the loop that it begins in.
        await asyncio.sleep(0.002)
        self._ledger.note(f"end {key} {step}")

    async def plain(self, key: str) -> str:
        await self._step(key, 1)
        return f"the result of {key}"

    async def nothing(self, key: str) -> None:
        await self._step(key, 1)

    async def failing(self, key: str) -> None:
        await self._step(key, 1)
        raise ValueError(f"the failure of {key}")

    async def failing_at_first(self, key: str, execution: Execution = CurrentExecution()) -> str:
        await self._step(key, execution.generation)
        if execution.generation == 1:
            raise ValueError(f"the failure of {key}")
        return f"the result of {key}"

    async def retried(
        self, key: str, retry: Retry = Retry(attempts=3, delay=timedelta(milliseconds=5))
    ) -> str:
        await self._step(key, retry.attempt)
        if retry.attempt < 3:
            raise ValueError("not yet")
        return f"the result of {key}"

    async def perpetual(self, key: str, step: int, perpetual: Perpetual = Perpetual()) -> str:
        await self._step(key, step)
        perpetual.perpetuate(key, step + 1)
        if step == 3:
            perpetual.cancel()
        return f"the result of {key} {step}"

    async def automatic(
        self, step: int = 1, perpetual: Perpetual = Perpetual(automatic=True)
    ) -> None:
        await self._step("automatic", step)
        perpetual.perpetuate(step + 1)
        if step == 3:
            perpetual.after(LATER)

    async def cron(self, cron: Cron = Cron("0 0 1 1 *", automatic=False)) -> None:
        await self._step("cron", 1)

    async def limited(self, key: str, limit: ConcurrencyLimit = ConcurrencyLimit(1)) -> str:
        await self._step(key, 1)
        return f"the result of {key}"

    async def debounced(
        self, key: str, debounce: Debounce = Debounce(timedelta(milliseconds=40))
    ) -> str:
        await self._step(key, 1)
        return f"the result of {key}"

    async def rescheduling(self, key: str, step: int, docket: Docket = CurrentDocket()) -> str:
        await self._step(key, step)
        if step < 3:
            await docket.replace(self.rescheduling, datetime.now(UTC), key)(key, step + 1)
        return f"the result of {key} {step}"

    async def endless(self, key: str) -> None:
        self._ledger.note(f"begin {key} 1")
        try:
            await asyncio.Event().wait()
        finally:
            self._ledger.note(f"end {key} 1")

    def register(self, docket: Docket, *names: str) -> None:
        for name in names:
            docket.register(getattr(self, name))


@dataclass(frozen=True)
class Scenario:
    """A story.

    functions: what its worker can run. calls: key -> function and arguments, added in this order.
    ends: key -> state in the end. generations: of those keys, if it is not 1. steps: of each key,
    all of which have to be gone through. either: keys of which one has to come to its end, and the
    others may be cancelled without a step: who is the last is who asked last. alone: keys of which
    no two may run at once.
    results: key -> result. tell: what else happens, if anything.
    """

    name: str
    functions: tuple[str, ...]
    calls: dict[str, tuple[Any, ...]]
    ends: dict[str, str]
    steps: dict[str, int]
    generations: dict[str, int] = field(default_factory=dict[str, int])
    results: dict[str, object] = field(default_factory=dict[str, object])
    either: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    tell: Callable[[Docket, Ledger], Awaitable[None]] | None = None


async def _cancel_what_runs(docket: Docket, ledger: Ledger) -> None:
    await until(lambda: "endless 1" in ledger.begun(), "the beginning of the run")
    await docket.cancel("endless")


async def _pause_and_resume(docket: Docket, ledger: Ledger) -> None:
    await docket.pause("plain", reason="a story")
    await docket.add("plain", key="paused")("paused")
    # Claimed after it: so that one was parked.
    await docket.add("nothing", key="after")("after")
    await until(lambda: "after 1" in ledger.begun(), "the run of the one that is not paused")
    assert "paused 1" not in ledger.begun()
    assert await docket.resume("plain")


async def _retry_the_failure(docket: Docket, _ledger: Ledger) -> None:
    async def has_failed() -> bool:
        execution = await docket.get_execution("again")
        return execution is not None and execution.state is ExecutionState.FAILED

    await until(has_failed, "the failure")
    await docket.retry("again")


async def _run_the_scheduled_now(docket: Docket, ledger: Ledger) -> None:
    later = datetime.now(UTC) + LATER
    await docket.add("plain", later, "now")("now")
    await docket.add("plain", later, "sooner")("sooner")
    await docket.add("nothing", key="after")("after")
    await until(lambda: "after 1" in ledger.begun(), "the run of the one that is due")
    await docket.run_now("now")
    await docket.reschedule("sooner", datetime.now(UTC) + timedelta(milliseconds=20))


SCENARIOS = (
    Scenario(
        "plain",
        ("plain", "nothing", "failing"),
        {"p1": ("plain", "p1"), "n1": ("nothing", "n1"), "f1": ("failing", "f1")},
        {"p1": "completed", "n1": "completed", "f1": "failed"},
        {"p1": 1, "n1": 1, "f1": 1},
        results={"p1": "the result of p1", "n1": None},
    ),
    Scenario(
        "retry",
        ("retried",),
        {"r": ("retried", "r")},
        {"r": "completed"},
        {"r": 3},
        results={"r": "the result of r"},
    ),
    Scenario(
        "perpetual",
        ("perpetual",),
        {"p": ("perpetual", "p", 1)},
        {"p": "completed"},
        {"p": 3},
        {"p": 3},
        {"p": "the result of p 3"},
    ),
    Scenario(
        "automatic perpetual",
        ("automatic",),
        {},
        {"automatic": "scheduled"},
        {"automatic": 3},
        {"automatic": 4},
    ),
    Scenario(
        "cron", ("cron",), {"cron": ("cron",)}, {"cron": "scheduled"}, {"cron": 1}, {"cron": 2}
    ),
    Scenario(
        "concurrency-limited",
        ("limited",),
        {key: ("limited", key) for key in ("l1", "l2", "l3")},
        dict.fromkeys(("l1", "l2", "l3"), "completed"),
        dict.fromkeys(("l1", "l2", "l3"), 1),
        alone=("l1", "l2", "l3"),
    ),
    Scenario(
        "debounced",
        ("debounced",),
        {"d1": ("debounced", "d1"), "d2": ("debounced", "d2")},
        {"d1": "completed", "d2": "completed"},
        {"d1": 1, "d2": 1},
        either=("d1", "d2"),
    ),
    Scenario(
        "self-rescheduling",
        ("rescheduling",),
        {"s": ("rescheduling", "s", 1)},
        {"s": "completed"},
        {"s": 3},
        {"s": 3},
        {"s": "the result of s 3"},
    ),
    Scenario(
        "cancelled while running",
        ("endless",),
        {"endless": ("endless", "endless")},
        {"endless": "cancelled"},
        {"endless": 1},
        tell=_cancel_what_runs,
    ),
    Scenario(
        "paused and resumed",
        ("plain", "nothing"),
        {},
        {"paused": "completed", "after": "completed"},
        {"paused": 1, "after": 1},
        results={"paused": "the result of paused"},
        tell=_pause_and_resume,
    ),
    Scenario(
        "retried by an operator",
        ("failing_at_first",),
        {"again": ("failing_at_first", "again")},
        {"again": "completed"},
        {"again": 2},
        {"again": 2},
        {"again": "the result of again"},
        tell=_retry_the_failure,
    ),
    Scenario(
        "run now and rescheduled",
        ("plain", "nothing"),
        {},
        dict.fromkeys(("now", "sooner", "after"), "completed"),
        dict.fromkeys(("now", "sooner", "after"), 1),
        results={"now": "the result of now", "sooner": "the result of sooner"},
        tell=_run_the_scheduled_now,
    ),
)


def known(name: str) -> Scenario:
    """The story of a name."""
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def worker_of(docket: Docket) -> Worker:
    """A worker as these stories want it."""
    return Worker(docket, "w", concurrency=4, redelivery_timeout=timedelta(minutes=5))
