"""The lifecycle against a small model: whatever happens in whatever order, the store agrees.

The model knows nothing of Redis: a key has a generation, a state and, when it runs, a run. Runs
that were replaced or swept are kept by the machine, so that their outcomes can come late.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from docket.lifecycle import LIVE, TRANSITIONS, ExecutionState
from docket.store.records import Claim
from tests.support.store import State, Store, outcome, store_at

Value = TypeVar("Value")

NAMES = ("k1", "k2")
KEYS = st.sampled_from(NAMES)
#: Of the runs that have not been handed in, counted round.
WHICH = st.integers(min_value=0, max_value=5)
CONSUMERS = st.sampled_from(["a", "b"])
MAX_DEATHS = 3

S = ExecutionState


@dataclass
class Key:
    """What the model holds of a key."""

    generation: int = 0
    state: ExecutionState | None = None
    worker: str = ""
    attempt: int = 1
    deaths: int = 0
    cancelled: bool = False
    #: In which of the three streams it waits.
    letter: str = ""
    history: list[ExecutionState] = field(default_factory=list)

    def to(self, state: ExecutionState) -> None:
        if self.state is not None and self.state in LIVE:
            assert state in TRANSITIONS[self.state], f"{self.state} -> {state}"
        self.state = state


@dataclass(frozen=True)
class Run:
    """A claim, and the generation it belongs to by the model."""

    consumer: str
    claim: Claim
    generation: int


class Lifecycle(RuleBasedStateMachine):
    """Drives one docket's store by every transition there is."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.opened = store_at(self.url, f"machine-{uuid4().hex}")
        self.store: Store = self.do(self.opened.__aenter__())
        self.names = {"a": "a.0", "b": "b.0"}
        self.do(self.store.register(*self.names.values()))
        self.keys = {key: Key() for key in NAMES}
        self.runs: list[Run] = []

    def do(self, coroutine: Coroutine[Any, Any, Value]) -> Value:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        self.do(self.opened.__aexit__(None, None, None))
        self.runner.close()

    # What happens ---------------------------------------------------------------------------

    @rule(key=KEYS, later=st.booleans(), replace=st.booleans())
    def schedule(self, key: str, later: bool, replace: bool) -> None:
        known = self.keys[key]
        reply = self.do(
            self.store.add(key, delay_seconds=3600 if later else None, replace=1 if replace else 0)
        )
        if known.state in LIVE and not replace:
            assert reply.disposition == "already"
            return
        assert reply.disposition == "scheduled"
        self.keys[key] = Key(
            known.generation + 1,
            S.SCHEDULED if later else S.QUEUED,
            letter="" if later else "s",
        )

    @rule(key=KEYS, consumer=CONSUMERS)
    def start(self, key: str, consumer: str) -> None:
        """What most rules need before they can do anything."""
        self.schedule(key, later=False, replace=False)
        self.claim(consumer, want=len(NAMES), may=True)

    @rule()
    def promote(self) -> None:
        self.do(self.store.rewind_queue())
        self.do(self.store.records.promote())
        self._promoted()

    def _promoted(self) -> None:
        for known in self.keys.values():
            if known.state is S.SCHEDULED:
                known.to(S.QUEUED)
                known.letter = "x" if known.deaths else "s"

    @rule(consumer=CONSUMERS, want=st.integers(1, 2), may=st.sampled_from([True, True, False]))
    def claim(self, consumer: str, want: int, may: bool) -> None:
        name = self.names[consumer]
        reply = self.do(self.store.exchange(name, want=want, may_take_suspect=may))
        waiting = {k: v for k, v in self.keys.items() if v.state is S.QUEUED}
        suspects = sum(v.letter == "x" for v in waiting.values())
        innocents = len(waiting) - suspects
        expected_suspects = min(suspects, 1) if may else 0
        assert sum(c.deaths > 0 for c in reply.claims) == expected_suspects
        assert len(reply.claims) == min(want, innocents + expected_suspects)
        letters = [c.entry[:1] for c in reply.claims]
        assert letters == sorted(letters, key=b"xfs".index)
        for claim in reply.claims:
            known = self.keys[claim.key.decode()]
            assert int(claim.generation) == known.generation
            assert (claim.attempt, claim.deaths) == (known.attempt, known.deaths)
            known.to(S.RUNNING)
            known.worker = name
            self.runs.append(Run(name, claim, known.generation))

    @precondition(lambda self: self.runs)
    @rule(which=WHICH, kind=st.sampled_from("CFX"))
    def end(self, which: int, kind: str) -> None:
        self._hand_in(which, kind, 0)

    @precondition(lambda self: self.runs)
    @rule(which=WHICH, delay=st.sampled_from([0, 3_600_000]))
    def retry(self, which: int, delay: int) -> None:
        self._hand_in(which, "A", delay)

    @precondition(lambda self: self.runs)
    @rule(which=WHICH)
    def hand_back(self, which: int) -> None:
        self._hand_in(which, "H", 0)

    @precondition(lambda self: self.runs)
    @rule(which=WHICH)
    def give_up(self, which: int) -> None:
        self._hand_in(which, "S", 0)

    def _hand_in(self, which: int, kind: str, delay: int) -> None:
        run = self.runs[which % len(self.runs)]
        key = run.claim.key.decode()
        known = self.keys[key]
        payload: tuple[Any, Any] = (delay, known.attempt + 1) if kind == "A" else (b"r", "text")
        if run.consumer not in self.names.values():
            return  # Struck off: it may not even say so; see test_ownership.
        is_ours = self._is_current(run) and kind != "S"
        reply = self.do(self.store.exchange(run.consumer, [outcome(kind, run.claim, *payload)]))
        assert reply.superseded == ([] if is_ours else [0])
        if kind == "S" and self._is_current(run):
            return  # Its entry is how the run is found again.
        self.runs.remove(run)
        if is_ours:
            self._ended(known, kind, delay)

    def _is_current(self, run: Run) -> bool:
        known = self.keys[run.claim.key.decode()]
        record = self.do(self.store.record(run.claim.key.decode()))
        return (
            known.state is S.RUNNING
            and known.generation == run.generation
            and known.worker == run.consumer
            and record["entry"].encode() == run.claim.entry
        )

    def _ended(self, known: Key, kind: str, delay: int) -> None:
        match kind:
            case "C":
                known.to(S.COMPLETED)
            case "F":
                known.to(S.FAILED)
            case "X":
                known.to(S.CANCELLED)
            case _ if known.cancelled:
                known.to(S.CANCELLED)
            case "A" if delay:
                known.attempt += 1
                known.to(S.SCHEDULED)
            case "A":
                known.attempt += 1
                known.letter = "x" if known.deaths else "s"
                known.to(S.QUEUED)
            case _:
                known.letter = "x" if known.deaths else "f"
                known.to(S.QUEUED)

    @rule(key=KEYS)
    def cancel(self, key: str) -> None:
        known = self.keys[key]
        reply = self.do(self.store.records.cancel(key))
        if known.state is S.RUNNING:
            assert reply == "signalled"
            known.cancelled = True
        elif known.state in LIVE:
            assert reply == "removed"
            known.to(S.CANCELLED)
        else:
            assert reply == "nothing"

    @rule(consumer=CONSUMERS, blame=st.sampled_from(["everyone", "nobody", "key:k1"]))
    def die_and_be_adopted(self, consumer: str, blame: str) -> None:
        name = self.names[consumer]
        moved, poisoned = self.do(self.store.adopt(name, blame, MAX_DEATHS))
        expected_moved, expected_poisoned = 0, []
        for key, known in self.keys.items():
            if known.state is S.RUNNING and known.worker == name:
                outcome_ = self._redelivered(known, blame in {"everyone", f"key:{key}"})
                expected_moved += outcome_ == "moved"
                expected_poisoned += [key] if outcome_ == "poison" else []
        assert (moved, sorted(poisoned)) == (expected_moved, sorted(expected_poisoned))
        self.runs = [run for run in self.runs if run.consumer != name]
        base, _, number = name.partition(".")
        self.names[consumer] = f"{base}.{int(number) + 1}"
        self.do(self.store.register(self.names[consumer]))

    def _redelivered(self, known: Key, is_blamed: bool) -> str:
        if known.cancelled:
            known.to(S.CANCELLED)
            return "cancelled"
        known.deaths += is_blamed
        if known.deaths >= MAX_DEATHS:
            known.to(S.FAILED)
            return "poison"
        known.letter = "x" if known.deaths else "f"
        known.to(S.QUEUED)
        return "moved"

    @rule()
    def lose_all_leases(self) -> None:
        moved = self.do(self.store.sweep_now())
        running = [known for known in self.keys.values() if known.state is S.RUNNING]
        assert moved == sum(self._redelivered(known, False) == "moved" for known in running)

    @rule(consumer=CONSUMERS, knows=st.booleans())
    def reclaim(self, consumer: str, knows: bool) -> None:
        name = self.names[consumer]
        mine = [run for run in self.runs if run.consumer == name]
        current = [run for run in mine if self._is_current(run)]
        known_entries = [run.claim.entry for run in mine] if knows else []
        claims = self.do(self.store.records.reclaim(name, 1, known_entries))
        if knows:
            assert claims == []
            return
        expected = [r for r in current if not self.keys[r.claim.key.decode()].cancelled]
        assert {c.entry for c in claims} == {run.claim.entry for run in expected}
        for run in current:
            if run not in expected:
                self.keys[run.claim.key.decode()].to(S.CANCELLED)

    # What holds, always ---------------------------------------------------------------------

    @invariant()
    def the_store_is_what_the_model_says(self) -> None:
        state: State = self.do(self.store.state(*NAMES))
        assert state.faults() == []
        for key, known in self.keys.items():
            record = state.records.get(key)
            if known.state is None:
                assert record is None
                continue
            assert record is not None
            assert record["state"] == known.state.value
            assert int(record["generation"]) == known.generation
            assert int(record["attempt"]) == known.attempt
            assert int(record.get("deaths", "0")) == known.deaths
            if known.state is S.RUNNING:
                assert record["worker"] == known.worker
            if known.state is S.QUEUED:
                assert record["entry"][0] == known.letter
        assert set(state.queue) == {k for k, v in self.keys.items() if v.state is S.SCHEDULED}
        # Nothing is in a stream but what waits and what is run, or was and has not been handed in.
        waits = sum(known.state is S.QUEUED for known in self.keys.values())
        assert len(state.places) - len(state.pending) == waits
        entries = {run.claim.entry.decode() for run in self.runs}
        assert set(state.pending) <= entries


def run_machine(machine: Callable[[], RuleBasedStateMachine], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(120)
def test_whatever_happens_in_whatever_order_the_store_agrees_with_the_model(server: str) -> None:
    machine = type("LifecycleOnThisServer", (Lifecycle,), {"url": server})
    run_machine(machine, 100)
