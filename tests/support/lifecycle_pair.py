"""A docket's store on a real server and the model of it, driven by the same calls.

Each call is made of both; what they answer, and after it all that can be looked at, has to agree.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import redis

from docket.errors import DocketError
from docket.store import scripts
from docket.store.acts import Acts
from docket.store.claims import Claim
from docket.store.coalescing import ScheduleRequest, Terms
from docket.store.connection.lease_connection import LeaseConnection
from docket.store.keys import WORKER_GROUP
from docket.store.limits import LimitKind, LimitRequest
from docket.store.manual import Content, Mark, RunIdentity
from docket.store.retention import Retention
from docket.store.scan import clear
from docket.store.transitions import Fenced, StaleEpoch
from tests.support import observed
from tests.support.heard import Heard
from tests.support.model import acting, manual, pauses, producing, slots, working
from tests.support.model.values import Claimed, Ending, Entry, Exchanged, Letter, Request, Scheduled
from tests.support.model.world import World
from tests.support.observed import TICK, Clock, Observed
from tests.support.passing_time import NEVER, pass_time
from tests.support.store import POISON, store_at

Value = TypeVar("Value")

#: Keys, and the slots that their tasks want: scope -> how many may hold one.
LIMIT_REQUESTS: dict[str, dict[str, int]] = {
    "k1": {},
    "k2": {"one": 1},
    "k3": {"one": 1, "two": 2},
    "k4": {"two": 2},
}
#: Those of the limits, and of the functions that may be paused.
SCOPES = ("one", "two", pauses.scope_of("f"), pauses.scope_of("g"))
LEASE_TICKS = 4
MAX_DEATHS = 2
#: How long failed executions are kept, and how many.
KEEP_TICKS = 5
KEPT_MOST = 2


class Pair:
    """The two of them.

    Args:
        url: of the server.
        ttl: how long records of ended executions are kept (ticks).

    Attributes:
        world: the model.
        idle: consumers that wait for a wake-up: their last exchange brought less than they wanted.
        looking: consumers that are to exchange before they wait.
    """

    def __init__(self, url: str, ttl: int = 3) -> None:
        self._runner = asyncio.Runner()
        self._retention = Retention(timedelta(hours=ttl), timedelta(hours=KEEP_TICKS), KEPT_MOST)
        self._opened = store_at(url, f"machine-{uuid4().hex}", self._retention)
        self.store = self.do(self._opened.__aenter__())
        self.keys = self.store.keys
        self.acts = Acts(self.store.connections.pipeline, self.keys)
        self.client: Any = redis.Redis.from_url(
            url, decode_responses=True, encoding="latin-1", protocol=2
        )
        self._heard = Heard(self.client, self.keys.prefix)
        poison = (POISON[0].decode(), POISON[1])
        self.world = World(ttl, KEEP_TICKS, KEPT_MOST, LEASE_TICKS, MAX_DEATHS, poison, 7)
        self._clock = Clock(self._now())
        self.idle = set[str]()
        self.looking = set[str]()
        self._due: int | None = None
        self._calls = 0

    def _now(self) -> int:
        seconds, microseconds = self.client.time()
        return seconds * 1000 + microseconds // 1000

    def do(self, coroutine: Coroutine[Any, Any, Value]) -> Value:
        return self._runner.run(coroutine)

    def close(self) -> None:
        self._heard.close()
        for key in self.client.keys(self.keys.prefix + ":*"):
            self.client.unlink(key)
        self.client.close()
        self.do(self._opened.__aexit__(None, None, None))
        self._runner.close()

    def number(self) -> int:
        """One that was not given before."""
        self._calls += 1
        return self._calls

    def token(self) -> str:
        """One that was not given before, of such a length that a record remembers seven."""
        return f"{self.number():024}"

    # Producers ----------------------------------------------------------------------------------

    def schedule(self, *requests: Request) -> list[Scheduled]:
        replies = self.do(
            self.store.transitions.coalescer.schedule_batch([self._asked(r) for r in requests])
        )
        expected = producing.schedule(self.world, requests)
        for reply, should in zip(replies, expected, strict=True):
            has = Scheduled(reply.disposition, reply.generation, reply.state)
            assert has == should, (requests, reply)
        self.check()
        return expected

    def _asked(self, request: Request) -> ScheduleRequest:
        return ScheduleRequest(
            key=request.key,
            call=request.call.encode(),
            when=self._clock.microseconds(self.world.now if request.when is None else request.when),
            token=request.token,
            terms=Terms(
                request.function,
                at_once=1 if request.when is None else 0,
                replace=1 if request.replace else 0,
                expected_generation=request.expected_generation,
                perpetual=request.perpetual,
            ),
        )

    def cancel(self, key: str) -> None:
        reply = self.do(self.store.transitions.cancel(key))
        assert reply == producing.cancel(self.world, key)
        self.check()

    def retry(self, key: str, token: str) -> None:
        # The script is asked as Acts asks it, with a token that may come again.
        flat = self.do(
            self.store.connections.pipeline.call(
                scripts.RETRY, self.keys.places, [self.keys.prefix, key, token, ""]
            )
        )
        assert (flat[0].decode(), flat[1]) == acting.retry(self.world, key, token)
        self.check()

    def move(self, key: str, when: int | None) -> None:
        at = None if when is None else self._clock.microseconds(when)
        (verdict,) = self.do(self.acts.move([(key, 0)], at))
        assert verdict == acting.move(self.world, key, when)
        self.check()

    def clear(self) -> None:
        reply = self.do(clear(self.store.connections.pipeline, self.keys, self._retention))
        assert reply == producing.clear(self.world)
        self.check()

    def pass_time(self, ticks: int) -> None:
        pass_time(self.client, self.keys.prefix, ticks * TICK)
        self._clock = Clock(self._clock.started - ticks * TICK)
        self.world.pass_time(ticks)
        self._due = None if self._due is None else self._due - ticks * TICK
        self.check()

    # Operators ----------------------------------------------------------------------------------

    def pause(self, name: str, ticks: int | None) -> None:
        """For so many ticks; None for no end."""
        until = None if ticks is None else self.world.now + ticks
        end = None if until is None else self._clock.microseconds(until)
        reply = self.do(
            self.store.transitions.pauses.pause(name, "at", end, "reason", "by", token=self.token())
        )
        verdict, was_paused = pauses.pause(self.world, name, until)
        assert (reply.verdict, reply.replaced is not None) == (verdict, was_paused)
        self.check()

    def resume(self, name: str) -> None:
        reply = self.do(self.store.transitions.pauses.resume(name, token=self.token()))
        assert reply == pauses.resume(self.world, name, working.LIFTED)
        self.check()

    def resume_half(self, name: str) -> None:
        """By one who dies after the first task that comes back."""
        call = self.store.connections.pipeline.call(
            scripts.RESUME,
            [*self.keys.places, self.keys.pauses, self.keys.asked(self.token())],
            [self.keys.prefix, name, 1, 60_000],
        )
        assert self.do(call)[0] == pauses.resume(self.world, name, 1)
        self.check()

    # Workers ------------------------------------------------------------------------------------

    def register(self, consumer: str) -> None:
        self.do(self.store.register(consumer))
        working.register(self.world, consumer)
        self.looking.add(consumer)
        self.check()

    def exchange(
        self,
        consumer: str,
        want: int = 0,
        *endings: Ending,
        epoch: int | None = None,
        may_take_quarantined: bool = True,
    ) -> Exchanged:
        epoch = self.world.epochs.get(consumer, 1) if epoch is None else epoch
        rows = [self._row(ending) for ending in endings]
        expected = working.exchange(
            self.world,
            consumer,
            epoch,
            want,
            endings,
            may_take_quarantined=may_take_quarantined,
            census=True,
        )
        try:
            reply = self.do(
                self.store.exchange(
                    consumer,
                    rows,
                    want=want,
                    epoch=epoch,
                    may_take_quarantined=may_take_quarantined,
                    census=True,
                    failures=[
                        (at, f"{ending.failure}\x1ferror\x1ftraceback")
                        for at, ending in enumerate(endings)
                        if ending.failure
                    ],
                )
            )
        except DocketError as error:
            self._expect_refusal(expected, error)
        else:
            assert expected.status == "ok"
            assert reply.superseded == expected.superseded
            assert reply.more == expected.more
            assert reply.left == expected.left
            self._compare_claims(reply.claims, expected.claims)
            self.looking.discard(consumer)
            self.idle.discard(consumer)
            if len(expected.claims) < want and not expected.more:
                self.idle.add(consumer)
            elif expected.more or want == 0:
                self.looking.add(consumer)
        self.check()
        return expected

    def _expect_refusal(self, expected: Exchanged, error: DocketError) -> None:
        kinds = {"refused": Fenced, "stale": StaleEpoch}
        assert isinstance(error, kinds.get(expected.status, ())), (expected, error)

    def _compare_claims(self, claims: Sequence[Claim], expected: Sequence[Claimed]) -> None:
        assert len(claims) == len(expected), (claims, expected)
        for claim, should in zip(claims, expected, strict=True):
            entry = claim.entry.decode()
            assert should.entry.name in {"", entry}
            should.entry.name = entry
            has = Claimed(
                claim.key.decode(),
                should.entry,
                int(claim.generation),
                claim.function.decode(),
                claim.call.decode(),
                self._clock.tick(claim.when) or 0,
                claim.attempt,
                claim.deaths,
                claim.came_from.decode() if claim.came_from is not None else None,
                observed.lasted_of(1000 * claim.suspect_seconds) if claim.suspect_seconds else None,
            )
            assert has == should

    def _row(self, ending: Ending) -> Any:
        claim = ending.claim
        a: Any = ending.payload
        b: Any = ending.text
        c: Any = ending.call
        match ending.kind:
            case "C":
                b = ending.result_key
            case "F":
                c = ending.result_key
            case "H":
                a = "1" if ending.has_outlived else ""
            case "A":
                a, b = ending.delay * TICK * 1000, ending.attempt
            case "P" if ending.origin == "e":
                a = f"e{self._clock.microseconds(ending.delay)}"
            case "P":
                a = f"{ending.origin}{ending.delay * TICK * 1000}"
            case _:
                pass
        return (ending.kind, *self._run(claim), a, b, c)

    def _run(self, claim: Claimed) -> tuple[bytes, bytes, bytes]:
        return claim.key.encode(), claim.entry.name.encode(), str(claim.generation).encode()

    def acquire(self, consumer: str, claim: Claimed) -> str:
        limit_requests = LIMIT_REQUESTS[claim.key]
        reply = self.do(
            self.store.transitions.limits.acquire(
                consumer,
                self._run(claim),
                [LimitRequest(LimitKind.SLOTS, scope, n) for scope, n in limit_requests.items()],
            )
        )
        assert reply.verdict == slots.acquire(self.world, consumer, claim, limit_requests)
        self.check()
        return reply.verdict

    def raise_epoch(self, consumer: str) -> None:
        expected = working.raise_epoch(self.world, consumer)
        try:
            assert self.do(self.store.transitions.raise_epoch(consumer)) == expected
        except Fenced:
            assert expected == 0
        self.check()

    def reclaim(self, consumer: str, known: Sequence[Entry]) -> Exchanged:
        epoch = self.world.epochs.get(consumer, 1)
        expected = working.reclaim(self.world, consumer, epoch, known)
        names = [entry.name.encode() for entry in known]
        try:
            claims = self.do(self.store.transitions.reclaim(consumer, epoch, names))
        except DocketError as error:
            self._expect_refusal(expected, error)
        else:
            self._compare_claims(claims, expected.claims)
        self.check()
        return expected

    def renew(self, consumer: str, runs: Sequence[Claimed]) -> tuple[list[Entry], list[Entry]]:
        async def made() -> LeaseConnection:
            return self.store.connections.lease_connection(self.keys)

        lease = self.do(made())
        lost, cancelled = lease.renew(consumer, [self._run(claim) for claim in runs])
        lease.close()
        expected = working.renew(self.world, consumer, runs)
        has = [[entry.decode() for entry in entries] for entries in (lost, cancelled)]
        assert has == [observed.named(entries) for entries in expected]
        self.check()
        return expected

    def vouch(self, consumer: str) -> None:
        reply = self.do(self.store.transitions.vouch(consumer, timedelta(minutes=1)))
        assert reply == working.vouch(self.world, consumer)
        self.check()

    def adopt(self, consumer: str, blame: str) -> None:
        self.idle.discard(consumer)
        self.looking.discard(consumer)
        reply = self.do(self.store.adopt(consumer, blame, MAX_DEATHS))
        assert reply == working.adopt(self.world, consumer, blame)
        self.check()

    def promote(self) -> None:
        promoted, _ = self.do(self.store.transitions.promote())
        assert promoted == self.world.promote(working.PROMOTED)
        pauses.lift_ended(self.world, working.LIFTED)
        self.check()

    def sweep(self) -> None:
        reply = self.do(self.store.transitions.sweep(timedelta(hours=LEASE_TICKS)))
        assert reply == working.sweep(self.world)
        assert self.do(self.store.transitions.limits.sweep()) == 0
        slots.look_after(self.world)
        assert self.do(self.store.transitions.recovery.recover()) == 0, "nobody has interfered"
        self.check()

    def leave_behind_and_recover(self, letter: Letter) -> None:
        """Somebody says that all of a stream was delivered, and will ever be."""
        name = {"s": self.keys.stream, "f": self.keys.redelivery, "x": self.keys.quarantine}[letter]
        if self.client.exists(name):
            last = 2**64 - 1
            self.client.xgroup_setid(name, WORKER_GROUP, f"{last}-{last}")
            reply = self.do(self.store.transitions.recovery.recover())
            assert reply == working.recover(self.world, letter)
            self.check()

    def report(self, key: str, claim: Claimed | None, operation: str, value: int) -> None:
        run = ("", 0) if claim is None else (claim.entry.name, claim.generation)
        reply = self.do(self.store.transitions.report_progress(key, *run, operation, value))
        expected = working.report(self.world, key, claim, operation, value)
        assert (reply is None) == (expected is None)
        if reply is not None and expected is not None:
            assert reply[:3] == (expected.current, expected.total, expected.message)
        self.check()

    def answer_the_wakeup(self, consumer: str) -> bool:
        """One that is idle takes the token, if there is one, and is to look now; whether it is."""
        if consumer not in self.idle or self.client.lpop(self.keys.wakeup) is None:
            return False
        self.idle.discard(consumer)
        self.looking.add(consumer)
        return True

    # By hand ------------------------------------------------------------------------------------

    def claim_by_hand(self, key: str, generation: int) -> Entry | None:
        held = self.do(
            self.store.transitions.manual.claim(
                RunIdentity(key, generation, ""), "hand", self._content
            )
        )
        entry = manual.claim(self.world, key, generation, "hand.hand")
        assert (held is None) == (entry is None)
        if held is not None and entry is not None:
            entry.name = held.entry
            record = self.world.records[key]
            assert (held.generation, held.attempt) == (record.generation, record.attempt)
        self.check()
        return entry

    def mark(self, key: str, generation: int, entry: Entry | None, state: Mark) -> None:
        identity = RunIdentity(key, generation, entry.name if entry is not None else "")
        marked = self.do(self.store.transitions.manual.mark(identity, state, "", "", self._content))
        assert (marked is not None) == manual.mark(self.world, key, generation, entry, state)
        self.check()

    def reschedule(self, key: str, generation: int, entry: Entry, ticks: int) -> str:
        """For so many ticks from now, as the second attempt."""
        when = self.world.now + ticks
        reply = self.do(
            self.store.transitions.manual.reschedule(
                RunIdentity(key, generation, entry.name), self._clock.microseconds(when), 2, b"1"
            )
        )
        disposition = manual.reschedule(self.world, key, generation, entry, when, 2, "1")
        assert reply.disposition == disposition
        self.check()
        return disposition

    def _content(self) -> Content:
        return Content("f", b"0", self._clock.microseconds(self.world.now), 1)

    # What is looked at --------------------------------------------------------------------------

    def check(self) -> None:
        """Everything that can be observed is what the model says."""
        self.world.calls += 1
        seen = observed.observe(self.client, self.keys, tuple(LIMIT_REQUESTS), SCOPES)
        found = observed.differences(self.world, seen, self._clock)
        assert not found, found
        # Of the same tick, the server's milliseconds say who is first.
        self.world.queue = {key: self.world.queue[key] for key in seen.queue}
        self._check_events(seen)
        assert seen.tokens <= 1
        self._check_somebody_looks(seen)
        forgotten = slots.forgotten(self.world)
        assert not forgotten, forgotten

    def _check_somebody_looks(self, seen: Observed) -> None:
        """Nobody waits for a wake-up while there is work and nobody else who will come for it."""
        ready = [*self.world.waiting("f"), *self.world.waiting("s")]
        # A paused docket keeps what is ready; whoever lifts the pause wakes somebody.
        is_kept = "" in self.world.pauses
        assert not (self.idle and ready) or seen.tokens or self.looking or is_kept, (
            self.idle,
            ready,
        )

    def _check_events(self, seen: Observed) -> None:
        events, wakes = self._heard.take(self._clock.tick)
        expected = [
            (kind, first.name if isinstance(first, Entry) else first, *others)
            for kind, first, *others in self.world.take_events()
        ]
        assert events == expected, (events, expected)
        ends = [end // 1000 for end in seen.pauses.values() if end and self._is_ahead(end)]
        due = min((at for at in [*seen.queue.values(), *ends] if at < NEVER), default=None)
        # Who waits until it is due has to hear of what is due earlier.
        is_earlier = due is not None and (self._due is None or due < self._due)
        assert not is_earlier or due in wakes, (due, self._due, wakes)
        self._due = due

    def _is_ahead(self, instant: int) -> bool:
        return (self._clock.tick(instant) or 0) > self.world.now
