"""Every transition of the lifecycle table, by its script: the whole state before and after."""

from collections.abc import Awaitable, Callable

import pytest

from docket.lifecycle import TERMINAL, TRANSITIONS, ExecutionState
from tests.support.store import Store, outcome

pytestmark = pytest.mark.anyio

S = ExecutionState


async def scheduled(store: Store) -> None:
    await store.register("a", "b")
    await store.add(delay_seconds=60)


async def queued(store: Store) -> None:
    await store.register("a", "b")
    await store.add()


async def running(store: Store) -> None:
    await queued(store)
    await store.claim()


async def ended(store: Store, kind: str) -> None:
    await queued(store)
    await store.exchange(outcomes=[outcome(kind, await store.claim(), "payload", "text")])


REACH: dict[ExecutionState, Callable[[Store], Awaitable[None]]] = {
    S.SCHEDULED: scheduled,
    S.QUEUED: queued,
    S.RUNNING: running,
    S.COMPLETED: lambda store: ended(store, "C"),
    S.FAILED: lambda store: ended(store, "F"),
    S.CANCELLED: lambda store: ended(store, "X"),
}

Act = Callable[[Store], Awaitable[object]]


async def hand_in(store: Store, kind: str, a: str | int = "", b: str | int = "") -> None:
    """The outcome of whatever the record names, by consumer a: right only if a runs it.

    Not of what is queued: that would be taken for a claim that a failover rolled back.
    """
    record = await store.record()
    named = record.get("entry") if record["state"] != "queued" else ""
    entry, generation = (named or "s0-1").encode(), record["generation"].encode()
    await store.exchange(outcomes=[(kind, b"k", entry, generation, a, b, "")])


async def promote(store: Store) -> None:
    await store.rewind_queue()
    await store.transitions.promote()


async def park(store: Store) -> None:
    await store.transitions.pauses.pause("f", "at", None, "", "", token="t")
    await store.exchange("b", want=5)


async def claim(store: Store) -> None:
    await store.exchange("b", want=5)


ACTS: dict[str, Act] = {
    "promotion": promote,
    "claim": claim,
    "parking": park,
    "completion": lambda s: hand_in(s, "C"),
    "failure": lambda s: hand_in(s, "F", "error", "text"),
    "stop": lambda s: hand_in(s, "X"),
    "retry at once": lambda s: hand_in(s, "A", 0, 2),
    "retry later": lambda s: hand_in(s, "A", 60_000_000, 2),
    "hand-back": lambda s: hand_in(s, "H"),
    "cancel": lambda s: s.transitions.cancel("k"),
    "adoption": lambda s: s.adopt("a"),
    "sweep": lambda s: s.sweep_now(),
    "add": lambda s: s.add(delay_seconds=30),
}

#: What each act makes of each state; a state that is not named is left as it was.
MAKES: dict[str, dict[ExecutionState, ExecutionState]] = {
    "promotion": {S.SCHEDULED: S.QUEUED},
    "claim": {S.QUEUED: S.RUNNING},
    "parking": {S.QUEUED: S.SCHEDULED},
    "completion": {S.RUNNING: S.COMPLETED},
    "failure": {S.RUNNING: S.FAILED},
    "stop": {S.RUNNING: S.CANCELLED},
    "retry at once": {S.RUNNING: S.QUEUED},
    "retry later": {S.RUNNING: S.SCHEDULED},
    "hand-back": {S.RUNNING: S.QUEUED},
    "cancel": {S.SCHEDULED: S.CANCELLED, S.QUEUED: S.CANCELLED},
    "adoption": {S.RUNNING: S.QUEUED},
    "sweep": {S.RUNNING: S.QUEUED},
    # A key whose execution has ended is free: a new execution, with a generation of its own.
    "add": dict.fromkeys(TERMINAL, S.SCHEDULED),
}


def test_the_acts_below_make_every_transition_of_the_table_and_no_other() -> None:
    made = {(a, b) for name, pairs in MAKES.items() if name != "add" for a, b in pairs.items()}
    table = {(before, after) for before, afters in TRANSITIONS.items() for after in afters}
    assert made == table


@pytest.mark.parametrize("state", list(S), ids=lambda state: state.value)
@pytest.mark.parametrize("act", list(ACTS))
async def test_an_act_makes_what_the_table_allows_and_leaves_everything_in_its_place(
    store: Store, act: str, state: ExecutionState
) -> None:
    await REACH[state](store)
    before = await store.state()
    assert before.records["k"]["state"] == state.value

    await ACTS[act](store)

    after = await store.state()
    expected = MAKES[act].get(state, state)
    assert after.records["k"]["state"] == expected.value
    assert after.faults() == []
    generations = [int(s.records["k"]["generation"]) for s in (before, after)]
    is_new = act == "add" and state in TERMINAL
    assert generations[1] - generations[0] == (1 if is_new else 0)
    if expected is state and act not in {"cancel", "adoption"}:
        assert after.records == before.records
        assert after.places == before.places
        assert after.pending == before.pending
    if ExecutionState(after.records["k"]["state"]) in TERMINAL:
        assert await store.client.pttl(store.keys.record("k")) > 0
    else:
        assert await store.client.pttl(store.keys.record("k")) == -1
