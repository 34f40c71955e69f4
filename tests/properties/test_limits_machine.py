"""Slots on a real server beside a small model of them: any sequence of what can happen to runs."""

import asyncio
from collections.abc import Awaitable
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

from docket.store.claims import Claim
from tests.support.limits import LimitedStore, left_behind, slots
from tests.support.limits_model import Model
from tests.support.machine_settings import examples
from tests.support.store import outcome, store_at

T = TypeVar("T")

KEYS = [f"k{i}" for i in range(6)]
CONSUMERS = ["a", "b"]
#: Where a task that waits for a slot stands in the queue.
NEVER = 253402300800000
#: What tasks may want; the sizes are the same in every task, as they are in one version of one.
WANTS = [
    {"one": 1},
    {"two": 2},
    {"one": 1, "two": 2},
    {"two": 2, "other": 1},
    {"other": 1, "one": 1},
    {"one": 1, "two": 2, "other": 1},
]
SIZES = {"one": 1, "two": 2, "other": 1}


class SlotsMachine(RuleBasedStateMachine):
    """Runs, their ends, deaths of their workers, and hands that take waiting tasks away.

    Attributes:
        running: entry -> consumer, claim: runs whose outcome is not known.
        wants: key -> what its present execution wants.
        places: generation of a key and attempt -> when it first asked.
    """

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.opening = store_at(self.url, f"machine-{uuid4().hex}")
        self.store = self.do(self.opening.__aenter__())
        self.limited = LimitedStore(self.store)
        self.do(self.store.register(*CONSUMERS))
        self.model = Model()
        self.running = dict[str, tuple[str, Claim]]()
        self.wants = dict[str, dict[str, int]]()
        self.places = dict[tuple[str, bytes, int], int]()
        self.names = {"a": "a", "b": "b"}

    def do(self, awaitable: Awaitable[T]) -> T:
        async def await_it() -> T:
            return await awaitable

        return self.runner.run(await_it())

    def teardown(self) -> None:
        self.finish_everything()
        self.do(self.opening.__aexit__(None, None, None))
        self.runner.close()

    @rule(key=st.sampled_from(KEYS), wants=st.sampled_from(WANTS))
    def add(self, key: str, wants: dict[str, int]) -> None:
        if self.do(self.store.add(key)).disposition == "scheduled":
            self.wants[key] = wants

    @rule(key=st.sampled_from(KEYS), wants=st.sampled_from(WANTS))
    def replace(self, key: str, wants: dict[str, int]) -> None:
        self.do(self.store.add(key, replace=1))
        self.wants[key] = wants
        self.model.leave(key)
        self.model.release(f"woken:{key}")

    @rule(key=st.sampled_from(KEYS))
    def cancel(self, key: str) -> None:
        if self.do(self.store.transitions.cancel(key)) == "removed":
            self.model.leave(key)
            self.model.release(f"woken:{key}")

    @rule(consumer=st.sampled_from(CONSUMERS), want=st.integers(1, 3))
    def claim(self, consumer: str, want: int) -> None:
        exchanged = self.do(self.store.exchange(self.names[consumer], want=want))
        for claim in exchanged.claims:
            self.start(consumer, claim)

    def start(self, consumer: str, claim: Claim) -> None:
        key, entry = claim.key.decode(), claim.entry.decode()
        wants = self.wants[key]
        held = self.model.holders.pop(f"woken:{key}", None)
        name = (key, claim.generation, claim.attempt)
        place = self.places.setdefault(name, len(self.places))
        verdict = self.acquire(consumer, claim).verdict
        cancelled = verdict == "cancelled"
        if held is not None:
            assert verdict == "granted"
            self.model.holders[entry] = held
        elif not cancelled:
            expected = self.model.acquire(entry, key, wants, place)
            assert verdict == ("granted" if expected else "waiting"), (key, wants)
        if verdict == "granted":
            self.running[entry] = consumer, claim
            # Asking again changes nothing.
            assert self.acquire(consumer, claim).verdict == "granted"

    def acquire(self, consumer: str, claim: Claim) -> Any:
        limit_requests = [
            slots(scope, size) for scope, size in self.wants[claim.key.decode()].items()
        ]
        return self.do(self.limited.acquire(claim, *limit_requests, consumer=self.names[consumer]))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), kind=st.sampled_from(["C", "F", "X", "H", "A", "later"]))
    def end(self, data: st.DataObject, kind: str) -> None:
        self.hand_in(data.draw(st.sampled_from(sorted(self.running))), kind)

    def hand_in(self, entry: str, kind: str) -> None:
        consumer, claim = self.running.pop(entry)
        a: str | int = {"A": 0, "later": 3_600_000_000}.get(kind, "")
        row = outcome("A" if kind == "later" else kind, claim, a, claim.attempt + 1)
        self.do(self.store.exchange(self.names[consumer], [row]))
        self.model.release(entry)

    @rule(consumer=st.sampled_from(CONSUMERS), count=st.sampled_from(["everyone", "nobody"]))
    def die(self, consumer: str, count: str) -> None:
        # In which order an adoption frees slots is its own affair: all but one are requeued.
        entries = [e for e, (owner, _) in self.running.items() if owner == consumer]
        for entry in entries[1:]:
            self.hand_in(entry, "H")
        self.do(self.store.adopt(self.names[consumer], count, 1000))
        for entry in entries[:1]:
            del self.running[entry]
            self.model.release(entry)
        self.names[consumer] = f"{consumer}-{uuid4().hex}"
        self.do(self.store.register(self.names[consumer]))

    @rule()
    def sweep(self) -> None:
        assert self.do(self.store.transitions.limits.sweep()) == 0
        self.model.look_after()

    @invariant()
    def the_server_and_the_model_agree(self) -> None:
        holders, lines, waiting, holds, entries = self.do(self.look())
        assert all(len(keys) <= SIZES[scope] for scope, keys in holders.items()), holders
        expected = dict.fromkeys(SIZES, 0)
        for scopes in self.model.holders.values():
            for scope in scopes:
                expected[scope] += 1
        assert {scope: len(keys) for scope, keys in holders.items()} == expected, self.model
        assert waiting == set(self.model.waiting), self.model
        assert lines == {scope: self.model.line(scope) for scope in SIZES}, self.model
        # A slot lives as long as its entry.
        assert holds <= entries
        assert self.model.forgotten() == []

    async def look(
        self,
    ) -> tuple[dict[str, list[str]], dict[str, list[str]], set[str], set[str], set[str]]:
        """Holders and lines by scope, who waits, entries that hold slots, and all entries."""
        keys = self.store.keys
        pipeline = self.store.client.pipeline(transaction=False)
        for scope in SIZES:
            pipeline.hvals(keys.slots(scope))
        for scope in SIZES:
            pipeline.zrange(keys.waiting(scope), 0, -1)
        pipeline.zrangebyscore(keys.queue, NEVER, NEVER)
        pipeline.hkeys(keys.holds)
        for stream in (keys.stream, keys.redelivery, keys.quarantine):
            pipeline.xrange(stream)
        found = await pipeline.execute()
        texts = [[member.decode() for member in members] for members in found[:8]]
        entries = {
            letter + identity.decode()
            for letter, stream in zip("sfx", found[8:], strict=True)
            for identity, _ in stream
        }
        n = len(SIZES)
        holders = dict(zip(SIZES, texts[:n], strict=True))
        lines = dict(zip(SIZES, texts[n : 2 * n], strict=True))
        return holders, lines, set(texts[2 * n]), set(texts[2 * n + 1]), entries

    async def end_delays(self) -> None:
        queue = self.store.keys.queue
        for key in await self.store.client.zrangebyscore(queue, 0, NEVER - 1):
            await self.store.client.zadd(queue, {key: 1})

    def finish_everything(self) -> None:
        """Whatever happened, all that is left runs to its end, and leaves nothing behind."""
        for _ in range(200):
            for entry in list(self.running):
                self.hand_in(entry, "C")
            self.do(self.end_delays())
            claims = self.do(self.store.exchange(self.names["a"], want=20)).claims
            for claim in claims:
                self.start("a", claim)
            if not claims and not self.running:
                break
        assert not self.running
        *_, entries = self.do(self.look())
        assert entries == set()
        left = self.do(left_behind(self.store.client, self.store.keys.prefix))
        assert left == set(), left
        records = [self.store.keys.record(key) for key in KEYS]
        self.do(self.store.client.unlink(*records))


@pytest.mark.hypothesis  # which it runs by itself, unmarked
def test_slots_are_never_exceeded_never_leak_and_nobody_is_forgotten(server: str) -> None:
    class Machine(SlotsMachine):
        url = server

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples(40),
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
