"""The lifecycle against the model: whatever happens in whatever order, the store agrees.

Everything that can be observed is compared after every step; see tests/support/lifecycle_pair.py.
"""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.lifecycle_pair import LIMIT_REQUESTS, Pair
from tests.support.machine_settings import machine_settings
from tests.support.model.values import Claimed, Ending, Entry, Request
from tests.support.stricken_calls import StrickenCalls

#: Of the keys: the first numbers are those that were claimed lately.
KEYS = st.integers(min_value=0, max_value=5)
#: Of the runs whose outcome is not handed in, counted round.
WHICH = st.integers(min_value=0, max_value=7)
#: Of the workers: the first numbers are those that ran something lately.
WORKERS = st.integers(min_value=0, max_value=4)
TICKS = st.sampled_from([-1, 0, 1, 2, 5])
VALUES = st.integers(0, 2)
REPORTS = st.sampled_from(["total", "increment", "message"])
ENDS = st.sampled_from(["completed", "failed", "cancelled"])


class Lifecycle(RuleBasedStateMachine):
    """Several producers and workers on one docket.

    Attributes:
        names: of each worker, under which it is registered now.
        runs: consumer and claim of what was claimed and has no outcome yet, known to its worker.
        sent: the requests so far.
        by_hand: key, generation and entry of what was claimed by hand.
        outlived: entries of quarantined runs that went on for longer than those that died.
    """

    url = ""

    pair: Pair
    stricken: StrickenCalls

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, str] = {}
        self.runs: list[tuple[str, Claimed]] = []
        self.sent: list[Request] = []
        self.by_hand: list[tuple[str, int, Entry]] = []
        self.outlived: set[Entry] = set()

    @initialize(
        ttl=st.sampled_from([3, 3, 3, 0]),
        keys=st.lists(KEYS, max_size=4),
        worker=WORKERS,
        want=st.integers(0, 3),
    )
    def begin(self, ttl: int, keys: list[int], worker: int, want: int) -> None:
        """With something that waits, and something that runs."""
        self.pair = Pair(self.url, ttl)
        self.stricken = StrickenCalls(self.pair.store, self.pair.client, self.pair.do)
        for name in ("a", "b"):
            self._join(name)
        for key in keys:
            self.add(key, "f", 0, None, False, 0)
        if want:
            self.claim(worker, want, True)

    def _join(self, worker: str) -> None:
        self.names[worker] = f"{worker}.{self.pair.number()}"
        self.pair.register(self.names[worker])
        self._exchange(self.names[worker], 1)

    def _name(self, number: int) -> str:
        lately = [self.names[consumer[0]] for consumer, _ in reversed(self.runs)]
        return [*dict.fromkeys(lately[:2]), *self.names.values()][number % len(self.names)]

    def _key(self, number: int) -> str:
        lately = [claim.key for _, claim in reversed(self.runs)]
        names = [*dict.fromkeys([*lately[:2], *LIMIT_REQUESTS])]
        return names[number % len(names)]

    def teardown(self) -> None:
        if self.names:
            self.pair.close()

    # Producers ----------------------------------------------------------------------------------

    @rule(
        key=KEYS,
        function=st.sampled_from("fg"),
        value=VALUES,
        when=st.none() | TICKS,
        replace=st.booleans(),
        perpetual=st.sampled_from([0, 0, 1, 2]),
    )
    def add(
        self, key: int, function: str, value: int, when: int | None, replace: bool, perpetual: Any
    ) -> None:
        if not self.stricken.is_stricken(function, value):
            self.pair.schedule(
                self._request(self._key(key), function, value, when, replace, perpetual)
            )

    @rule(
        keys=st.lists(st.sampled_from(list(LIMIT_REQUESTS)), min_size=2, max_size=5),
        when=st.none() | TICKS,
    )
    def add_many(self, keys: list[str], when: int | None) -> None:
        self.pair.schedule(
            *(self._request(key, "f", n, when, n % 2 == 1, 0) for n, key in enumerate(keys))
        )

    def _request(
        self, key: str, function: str, value: int, when: int | None, replace: bool, perpetual: Any
    ) -> Request:
        now = self.pair.world.now
        request = Request(
            key,
            function,
            str(value),
            None if when is None else now + when,
            token=self.pair.token(),
            replace=replace,
            perpetual=perpetual,
        )
        self.sent.append(request)
        return request

    @precondition(lambda self: self.sent)
    @rule(which=st.integers(0, 9))
    def a_request_arrives_again(self, which: int) -> None:
        """Its reply was lost; or its first sending was held up on its way."""
        self.pair.schedule(self.sent[-1 - which % len(self.sent)])

    @rule(key=KEYS, expected=st.integers(1, 4))
    def replace_an_expected_generation(self, key: int, expected: int) -> None:
        token = self.pair.token()
        self.pair.schedule(
            Request(
                self._key(key), "f", "0", None, token, replace=True, expected_generation=expected
            )
        )

    @rule(key=KEYS)
    def cancel(self, key: int) -> None:
        self.pair.cancel(self._key(key))

    @rule(key=KEYS, again=st.booleans())
    def retry(self, key: int, again: bool) -> None:
        """Retry what failed or was cancelled; the call may arrive twice."""
        name, token = self._key(key), self.pair.token()
        self.pair.retry(name, token)
        if again:
            self.pair.retry(name, token)

    @rule(key=KEYS, when=st.none() | TICKS)
    def run_now_or_reschedule(self, key: int, when: int | None) -> None:
        self.pair.move(self._key(key), None if when is None else self.pair.world.now + when)

    @rule()
    def clear(self) -> None:
        self.pair.clear()

    @rule(function=st.sampled_from("fg"), value=st.none() | VALUES, on=st.booleans())
    def strike_or_restore(self, function: str, value: int | None, on: bool) -> None:
        self.stricken.issue(function, value, on)
        self.pair.check()

    @rule(name=st.sampled_from(["f", "f", "g", ""]), ticks=st.none() | st.integers(0, 3))
    def pause(self, name: str, ticks: int | None) -> None:
        self.pair.pause(name, ticks)

    @rule(name=st.sampled_from(["f", "f", "g", ""]))
    def resume(self, name: str) -> None:
        self.pair.resume(name)

    @rule(name=st.sampled_from(["f", "g", ""]))
    def resume_and_die_half_way(self, name: str) -> None:
        self.pair.resume_half(name)

    @rule(ticks=st.integers(1, 3))
    def time_passes(self, ticks: int) -> None:
        self.pair.pass_time(ticks)

    # Workers ------------------------------------------------------------------------------------

    @rule(worker=WORKERS, want=st.integers(1, 3), admit=st.sampled_from([True, True, False]))
    def claim(self, worker: int, want: int, admit: bool) -> None:
        self._exchange(self._name(worker), want, admit=admit)

    @rule(key=KEYS, worker=WORKERS)
    def add_and_claim(self, key: int, worker: int) -> None:
        """What most rules need before they can do anything."""
        self.pair.schedule(self._request(self._key(key), "f", 0, None, False, 0))
        self._exchange(self._name(worker), 3, admit=True)

    def _exchange(self, consumer: str, want: int, *endings: Ending, admit: bool = True) -> None:
        has_suspect = any(c == consumer and self._is_suspect(claim) for c, claim in self.runs)
        reply = self.pair.exchange(
            consumer, want, *endings, may_take_quarantined=want > 0 and not has_suspect
        )
        self._take(consumer, reply.claims, admit=admit)

    def _take(self, consumer: str, claims: list[Claimed], *, admit: bool) -> None:
        self.runs += [(consumer, claim) for claim in claims]
        for claim in claims:
            if (
                admit
                and LIMIT_REQUESTS[claim.key]
                and self.pair.acquire(consumer, claim) != "granted"
            ):
                self.runs.remove((consumer, claim))

    def _is_suspect(self, claim: Claimed) -> bool:
        return claim.lasted is not None and claim.entry not in self.outlived

    @precondition(lambda self: any(self._is_suspect(claim) for _, claim in self.runs))
    @rule(which=WHICH)
    def outlive_the_run_that_died(self, which: int) -> None:
        """So that its worker may take another quarantined task, and does."""
        suspects = [(name, claim) for name, claim in self.runs if self._is_suspect(claim)]
        name, claim = suspects[which % len(suspects)]
        self.outlived.add(claim.entry)
        self._exchange(name, 1)

    @precondition(lambda self: self.runs)
    @rule(which=WHICH)
    def ask_for_slots_perhaps_again(self, which: int) -> None:
        run = self.runs[which % len(self.runs)]
        if LIMIT_REQUESTS[run[1].key] and self.pair.acquire(*run) != "granted":
            self.runs.remove(run)

    @precondition(lambda self: self.runs)
    @rule(
        which=st.lists(WHICH, min_size=1, max_size=3),
        kinds=st.lists(st.sampled_from("CCFXAAPPHS"), min_size=3, max_size=3),
        delay=st.sampled_from([0, 0, 1, 3]),
        origin=st.sampled_from("nse"),
        detail=st.booleans(),
        want=st.integers(1, 3),
    )
    def end(
        self,
        which: list[int],
        kinds: list[str],
        delay: int,
        origin: Any,
        detail: bool,
        want: int,
    ) -> None:
        chosen = list({id(r): r for n in which if (r := self.runs[n % len(self.runs)])}.values())
        consumer = chosen[0][0]
        mine = [run for run in chosen if run[0] == consumer]
        endings = [
            self._ending(kind, run[1], delay, origin, detail)
            for kind, run in zip(kinds, mine, strict=False)
        ]
        for run in mine:
            self.runs.remove(run)
        # One that was fenced goes on under its new name.
        self._exchange(self.names[consumer[0]], want, *endings)

    def _ending(self, kind: str, claim: Claimed, delay: int, origin: Any, detail: bool) -> Ending:
        if self.stricken.is_stricken(claim.function, int(claim.call)):
            kind = "X"
        match kind:
            case "C":
                return Ending("C", claim, payload="result" if detail else "")
            case "F":
                stored = {"payload": "exception"} if detail else {"result_key": "elsewhere"}
                return Ending("F", claim, text="Error: no", failure="failed", **stored)
            case "A":
                how = "failed" if detail else ""
                again = claim.attempt + detail
                return Ending("A", claim, delay, attempt=again, call="1", failure=how)
            case "P":
                since = self.pair.world.now if origin == "e" else 0
                text = "Error: no" if detail else ""
                return Ending(
                    "P", claim, since + delay, origin, text=text, failure=text and "failed"
                )
            case _:
                return Ending(kind, claim, has_outlived=not self._is_suspect(claim))

    @precondition(lambda self: self.runs)
    @rule(which=WHICH, want=st.integers(0, 2))
    def end_with_a_reply_that_is_lost(self, which: int, want: int) -> None:
        """What the lost call did is settled: epoch, reclaim, the outcome once more."""
        consumer, claim = run = self.runs[which % len(self.runs)]
        ending = Ending("C", claim, payload="result")
        reply = self.pair.exchange(consumer, want, ending)
        if reply.status != "ok":
            return
        late = self.pair.world.epochs[consumer]
        self._settle(consumer)
        self.pair.exchange(consumer, want, ending, epoch=late)
        self._exchange(consumer, 1, ending)
        self.runs.remove(run)

    @rule(worker=WORKERS, want=st.integers(1, 2))
    def claim_and_never_hear_of_it(self, worker: int, want: int) -> None:
        """Until it settles; whatever happens before that happens to runs that nobody runs."""
        self.pair.exchange(self._name(worker), want)

    @rule(worker=WORKERS)
    def settle_after_a_broken_connection(self, worker: int) -> None:
        self._settle(self._name(worker))

    def _settle(self, consumer: str) -> None:
        self.pair.raise_epoch(consumer)
        known = [claim.entry for c, claim in self.runs if c == consumer]
        reply = self.pair.reclaim(consumer, known)
        self._take(consumer, reply.claims, admit=True)

    @precondition(lambda self: self.runs)
    @rule(which=WHICH)
    def a_late_call_of_one_that_was_struck_off_or_of_an_older_epoch(self, which: int) -> None:
        consumer, claim = self.runs[which % len(self.runs)]
        older = self.pair.world.epochs.get(consumer, 1) - 1
        reply = self.pair.exchange(consumer, 2, Ending("C", claim), epoch=older)
        assert reply.status in {"stale", "refused"}

    @rule(worker=WORKERS, strays=st.booleans())
    def renew(self, worker: int, strays: bool) -> None:
        name = self._name(worker)
        mine = [claim for consumer, claim in self.runs if strays or consumer == name]
        self.pair.renew(name, mine)

    @rule(worker=WORKERS)
    def vouch(self, worker: int) -> None:
        self.pair.vouch(self._name(worker))

    @precondition(lambda self: self.runs)
    @rule(which=WHICH, operation=REPORTS, value=st.integers(1, 9))
    def report_progress(self, which: int, operation: str, value: int) -> None:
        claim = self.runs[which % len(self.runs)][1]
        self.pair.report(claim.key, claim, operation, value)

    @rule(key=KEYS, operation=REPORTS, value=st.integers(1, 9))
    def report_progress_from_outside(self, key: int, operation: str, value: int) -> None:
        self.pair.report(self._key(key), None, operation, value)

    @rule(worker=WORKERS, want=st.integers(0, 3))
    def answer_the_wakeup(self, worker: int, want: int) -> None:
        """One that is idle takes the token; it may die before it looks."""
        name = self._name(worker)
        if self.pair.answer_the_wakeup(name) and want:
            self._exchange(name, want)

    @rule(
        worker=WORKERS,
        blame=st.sampled_from(["everyone", "everyone", "nobody", "key:k1"]),
        is_replaced=st.booleans(),
    )
    def die(self, worker: int, blame: str, is_replaced: bool) -> None:
        self._die(self._name(worker), blame)
        if is_replaced:
            self.start_what_is_missing()

    def _die(self, name: str, blame: str) -> None:
        self.pair.adopt(name, blame)
        self.runs = [run for run in self.runs if run[0] != name]

    @rule(
        keys=st.lists(st.sampled_from(list(LIMIT_REQUESTS)), min_size=2, max_size=3), worker=WORKERS
    )
    def die_under_several(self, keys: list[str], worker: int) -> None:
        """What it takes for the quarantine to hold more than one."""
        name = self._name(worker)
        self.pair.schedule(*(self._request(key, "f", 0, None, False, 0) for key in keys))
        self._exchange(name, 3)
        self._die(name, "everyone")
        self.start_what_is_missing()

    @rule()
    def start_what_is_missing(self) -> None:
        for worker, name in list(self.names.items()):
            if name not in self.pair.world.epochs:
                self._join(worker)

    @rule(worker=WORKERS)
    def be_taken_for_dead(self, worker: int) -> None:
        """Its runs go to others and it does not know: what they end with comes too late."""
        name = self._name(worker)
        self.pair.adopt(name, "nobody")
        self._join(name[0])

    @rule(worker=WORKERS)
    def drain(self, worker: int) -> None:
        name = self._name(worker)
        mine = [claim for consumer, claim in self.runs if consumer == name]
        self.runs = [run for run in self.runs if run[0] != name]
        handed_back = [
            Ending("H", claim, has_outlived=not self._is_suspect(claim)) for claim in mine
        ]
        self.pair.exchange(name, 0, *handed_back)
        self.pair.adopt(name, "nobody")
        self._join(name[0])

    # By hand ------------------------------------------------------------------------------------

    @rule(key=KEYS, generation=st.integers(0, 3), exact=st.booleans())
    def claim_by_hand(self, key: int, generation: int, exact: bool) -> None:
        name = self._key(key)
        record = self.pair.world.records.get(name)
        if exact and record is not None:
            generation = record.generation
        entry = self.pair.claim_by_hand(name, generation)
        if entry is not None:
            self.by_hand.append((name, self.pair.world.records[name].generation, entry))

    @rule(key=KEYS, generation=st.integers(0, 3), state=ENDS)
    def mark_whatever_is_there(self, key: int, generation: int, state: Any) -> None:
        self.pair.mark(self._key(key), generation, None, state)

    @precondition(lambda self: self.by_hand)
    @rule(which=WHICH, state=ENDS)
    def mark_what_was_claimed_by_hand(self, which: int, state: Any) -> None:
        key, generation, entry = self.by_hand[which % len(self.by_hand)]
        self.pair.mark(key, generation, entry, state)

    @precondition(lambda self: self.by_hand or self.runs)
    @rule(which=WHICH, ticks=TICKS)
    def reschedule_a_run(self, which: int, ticks: int) -> None:
        claimed = [(c.key, c.generation, c.entry) for _, c in self.runs]
        known = [*self.by_hand, *claimed]
        self.pair.reschedule(*known[which % len(known)], ticks)

    # The steward --------------------------------------------------------------------------------

    @rule()
    def promote(self) -> None:
        self.pair.promote()

    @rule(letter=st.sampled_from("sfx"))
    def entries_are_left_behind(self, letter: Any) -> None:
        self.pair.leave_behind_and_recover(letter)

    @rule(looks=st.integers(1, 6), worker=WORKERS, renews=st.booleans())
    def look_after_leases(self, looks: int, worker: int, renews: bool) -> None:
        """As often as it takes for leases to be lost; perhaps one worker keeps its own."""
        self.pair.sweep()
        for _ in range(looks):
            self.pair.pass_time(1)
            if renews:
                self.renew(worker, strays=False)
            self.pair.sweep()


def lifecycle_on(server: str) -> type[Lifecycle]:
    return type("LifecycleOnThisServer", (Lifecycle,), {"url": server})


@pytest.mark.hypothesis  # which it runs by itself, unmarked
@pytest.mark.long
@pytest.mark.timeout(7200)
def test_whatever_happens_in_whatever_order_the_store_agrees_with_the_model(server: str) -> None:
    run_state_machine_as_test(lifecycle_on(server), settings=machine_settings())


def test_of_a_run_that_is_lost_again_and_again_the_newest_attempts_are_remembered(
    server: str,
) -> None:
    machine = lifecycle_on(server)()
    machine.begin(ttl=3, keys=[0], worker=0, want=1)
    try:
        for _ in range(25):
            machine.be_taken_for_dead(0)
    finally:
        machine.teardown()
