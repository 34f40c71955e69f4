"""Walks over crash points: every command of a worker and its producers is lost, once each.

The points are found by a run in which nothing goes wrong: so a script that is new is walked too.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from uuid import uuid4

from docket import Docket
from docket.store import scripts
from docket.store.scripts import Script
from tests.support.crash_scenarios import Ledger, Scenario, Stories, worker_of
from tests.support.crash_workers import Children
from tests.support.dockets import at_work, found, soon
from tests.support.limits import leftovers
from tests.support.proxy import Do, Interception, Proxy, proxy_to
from tests.support.store import Store, store_at, until

_SCRIPTS = {
    script.digest.encode(): script.name
    for script in vars(scripts).values()
    if isinstance(script, Script)
}
#: What connections are made with: redis-py's own, before there is anything to lose.
_GREETINGS = {"HELLO", "AUTH", "SELECT", "CLIENT", "PING", "SUBSCRIBE", "UNSUBSCRIBE"}
_MISSED = "did not come again"


class How(Enum):
    """What happens at a point."""

    CUT_BEFORE = "the connection breaks before the call reaches the server"
    CUT_AFTER = "the connection breaks after the call took effect, before its reply is read"
    LATE = "the connection breaks, and the call reaches the server when all is over"
    KILLED_BEFORE = "the process is killed before the call reaches the server"
    KILLED_AFTER = "the process is killed after the call took effect"
    KILLED_LATE = "the process is killed, and the call reaches the server when all is over"


CUTS = (How.CUT_BEFORE, How.CUT_AFTER, How.LATE)
KILLS = (How.KILLED_BEFORE, How.KILLED_AFTER, How.KILLED_LATE)
#: What a dead process asked for is done when it arrives: what a task asked itself, and a
#: registration, which stewards take back when they hear no beat.
_HONOURED = {"schedule", "register"}


@dataclass(frozen=True)
class Point:
    """The nth call of a script, or of a plain command, in a story."""

    command: str
    nth: int

    @property
    def is_script(self) -> bool:
        return self.command.islower()


def name_of(words: list[bytes]) -> str:
    """The script that a command runs, in small letters, or its own name."""
    if words[0] == b"EVALSHA":
        assert words[1] in _SCRIPTS, (
            f"script {words[1]!r} is none that these tests have loaded; called with {words[3:5]}: "
            "by a process of an earlier run that is left, or lua/ was changed during this one"
        )
        return _SCRIPTS[words[1]]
    return words[0].decode().upper()


class _Watch:
    """Notes every command that passes a proxy, and intercepts one of them."""

    def __init__(self, proxy: Proxy) -> None:
        self.points: list[Point] = []
        self._counts: Counter[str] = Counter()
        self._point: Point | None = None
        self._proxy = proxy
        # First in line: it is asked about every command, and takes the one of its point.
        self._seen: Interception | None = None

    def intercept(self, point: Point | None, do: Do, *, cut_client: bool = False) -> Interception:
        self._point = point
        self._seen = self._proxy.intercept(self._matches, do, cut_client=cut_client)
        return self._seen

    def _matches(self, words: list[bytes]) -> bool:
        name = name_of(words)
        if name in _GREETINGS:
            return False
        self._counts[name] += 1
        point = Point(name, self._counts[name])
        self.points.append(point)
        return point == self._point


@dataclass(frozen=True)
class Walked:
    """What became of the walk of one story. missed: points that did not come again."""

    scenario: Scenario
    points: int
    missed: int


class Theatre:
    """Where stories are told: a server, a folder for ledgers, and processes that can be killed."""

    def __init__(self, server: str, folder: Path, children: Children | None = None) -> None:
        self._server = server
        self._folder = folder
        self._children = children

    async def points_of(self, scenario: Scenario, *, killed: bool) -> list[Point]:
        """The points of a story, found by telling it without a fault.

        Told twice: the first time is slow, and a slow story has more of what goes by the clock.
        """
        tell = self.kill_at if killed else self.cut_at
        await tell(scenario, None, None)
        told = await tell(scenario, None, None)
        assert told is not None
        return told

    async def cut_at(
        self, scenario: Scenario, point: Point | None, how: How | None
    ) -> list[Point] | None:
        """Tell a story whose connection breaks at a point; None if it did not come there.

        Nothing runs twice: no process died and no lease was lost.
        """
        do = {How.CUT_BEFORE: Do.LOSE_CALL, How.CUT_AFTER: Do.LOSE_REPLY, How.LATE: Do.HOLD_CALL}
        async with self._stage() as (ledger, outside, store), proxy_to(self._server) as proxy:
            watch = _Watch(proxy)
            cut = watch.intercept(point, do[how] if how else Do.ANSWER, cut_client=True)
            async with Docket(outside.name, proxy.url) as docket:
                Stories(ledger).register(docket, *scenario.functions)
                await _add_all(scenario, docket)
                async with at_work(worker_of(docket)), _told(scenario, docket, ledger):
                    await _ended(scenario, store)
                    if how is How.LATE and cut.happened.is_set():
                        await _let_go(cut, store)
            await _judge_the_end(scenario, outside, store)
            begun = Counter(ledger.begun())
            _judge_steps(scenario, begun, most=1)
            assert not ledger.overlaps(*scenario.alone), ledger.lines()
            return watch.points if point is None or cut.happened.is_set() else None

    async def kill_at(
        self, scenario: Scenario, point: Point | None, how: How | None
    ) -> list[Point] | None:
        """Tell a story whose worker is killed at a point, and another adopts what it ran.

        What had ended by then does not run again; what ran may, once.
        """
        assert self._children is not None
        do = Do.HOLD_REPLY if how is How.KILLED_AFTER else Do.HOLD_CALL
        async with self._stage() as (ledger, outside, store), proxy_to(self._server) as proxy:
            Stories(ledger).register(outside, *scenario.functions)
            watch = _Watch(proxy)
            killed = watch.intercept(point, do)
            await _add_all(scenario, outside)
            pid = await self._children.bear(scenario.name, proxy.url, outside.name, ledger.path)
            try:
                async with _told(scenario, outside, ledger):
                    ended = asyncio.create_task(_ended(scenario, store))
                    happened = asyncio.create_task(killed.happened.wait())
                    await asyncio.wait({ended, happened}, return_when=asyncio.FIRST_COMPLETED)
                    os.kill(pid, signal.SIGKILL)
                    ledger.note("killed")
                    if killed.happened.is_set():
                        await self._adopt(scenario, outside, store, ledger)
                    await ended
                    happened.cancel()
                    if how is How.KILLED_LATE and killed.happened.is_set():
                        # Of what was written after it, nothing arrives: that may be a task's own.
                        killed.cut_client = True
                        await _let_go(killed, store)
            finally:
                await self._children.bury(pid)
            await _judge_the_end(scenario, outside, store)
            return watch.points if point is None or killed.happened.is_set() else None

    async def _adopt(
        self, scenario: Scenario, outside: Docket, store: Store, ledger: Ledger
    ) -> None:
        done = await _done(scenario, store)
        dead = [name.decode() for name in await store.transitions.beats()]
        async with at_work(worker_of(outside)) as worker:
            for consumer in dead:
                await worker.adopt(consumer)
            await _ended(scenario, store)
        _judge_steps(scenario, Counter(ledger.begun()), most=2)
        again = ledger.lines()[ledger.lines().index("killed") :]
        repeated = {step for step in done if f"begin {step}" in again}
        assert not repeated, (repeated, ledger.lines())
        assert not ledger.overlaps(*scenario.alone), ledger.lines()

    @asynccontextmanager
    async def _stage(self) -> AsyncGenerator[tuple[Ledger, Docket, Store]]:
        name = f"story-{uuid4().hex}"
        ledger = Ledger(self._folder / name)
        async with Docket(name, self._server) as outside, store_at(self._server, name) as store:
            yield ledger, outside, store
            async for key in store.client.scan_iter(match=store.keys.prefix + ":*", count=1000):
                await store.client.unlink(key)
        ledger.path.unlink()

    async def walk(
        self, scenario: Scenario, hows: Iterable[How], *, every: int = 1, offset: int = 0
    ) -> Walked:
        """Tell a story once for each of its points and each way to fail.

        Args:
            scenario: the story.
            hows: all of CUTS, or all of KILLS.
            every, offset: only each such point, beginning with that one.
        """
        ways = list(hows)
        killed = ways[0] in KILLS
        points = await self.points_of(scenario, killed=killed)
        chosen = [(p, how) for p in points for how in ways if _makes_sense(p, how)][offset::every]
        missed = 0
        for point, how in chosen:
            missed += not await self._come_to(scenario, point, how)
        return Walked(scenario, len(chosen) - missed, missed)

    async def _come_to(self, scenario: Scenario, point: Point, how: How) -> bool:
        """Whether the story came to that point, in one of three times that it was told."""
        tell = self.kill_at if how in KILLS else self.cut_at
        try:
            for _ in range(3):
                if await tell(scenario, point, how) is not None:
                    return True
        except (AssertionError, TimeoutError) as error:
            raise AssertionError(f"{scenario.name}, {point}: {how.value}: {error!r}") from error
        return False


def _makes_sense(point: Point, how: How) -> bool:
    # Only a script can do anything late; a plain command of ours changes nothing.
    if how is How.KILLED_LATE:
        return point.is_script and point.command not in _HONOURED
    return how is not How.LATE or point.is_script


async def _let_go(held: Interception, store: Store) -> None:
    """A call that was held up reaches the server, and changes nothing."""
    before = await store.state()
    held.retire.set()
    await soon(held.served.wait())
    after = await store.state()
    assert after.records == before.records, (before, after)
    assert (after.places, after.queue) == (before.places, before.queue)


async def _add_all(scenario: Scenario, docket: Docket) -> None:
    for key, (function, *arguments) in scenario.calls.items():
        await docket.add(function, key=key)(*arguments)


@asynccontextmanager
async def _told(scenario: Scenario, docket: Docket, ledger: Ledger) -> AsyncGenerator[None]:
    telling = asyncio.create_task(scenario.tell(docket, ledger)) if scenario.tell else None
    try:
        yield
    finally:
        if telling is not None:
            await soon(telling)


async def _ended(scenario: Scenario, store: Store) -> None:
    async def is_at_its_end() -> bool:
        records = {key: await store.record(key) for key in scenario.ends}
        return _are_ends(scenario, records)

    await until(is_at_its_end, f"the end of {scenario.name}")


def _are_ends(scenario: Scenario, records: dict[str, dict[str, str]]) -> bool:
    if not all(_is_end(scenario, key, record) for key, record in records.items()):
        return False
    came = [records[key]["state"] == scenario.ends[key] for key in scenario.either]
    return not came or any(came)


def _is_end(scenario: Scenario, key: str, record: dict[str, str]) -> bool:
    generation = str(scenario.generations.get(key, 1))
    if record.get("generation") != generation:
        return False
    state = record["state"]
    return state == scenario.ends[key] or (key in scenario.either and state == "cancelled")


async def _done(scenario: Scenario, store: Store) -> set[str]:
    """The steps that are recorded, as far as the records of this moment tell."""
    done = set[str]()
    for key in scenario.ends:
        record = await store.record(key)
        if record:
            steps = int(record["generation"]) + int(record["attempt"]) - 2
            steps += record["state"] in {"completed", "failed", "cancelled"}
            done |= {f"{key} {step}" for step in range(1, steps + 1)}
    return done


def _judge_steps(scenario: Scenario, begun: Counter[str], *, most: int) -> None:
    """Each step was gone through, at most so often."""
    expected = {f"{key} {n}" for key, steps in scenario.steps.items() for n in range(1, steps + 1)}
    free = {step for step in expected if step.split()[0] in scenario.either}
    assert set(begun) | free == expected, begun
    assert all(times <= most for times in begun.values()), begun


async def _judge_the_end(scenario: Scenario, outside: Docket, store: Store) -> None:
    """Everything is where it belongs, and nothing is left behind."""

    async def has_settled() -> bool:
        state = await store.state()
        return not state.places and not state.pending

    await until(has_settled, "the end of every entry")
    state = await store.state()
    assert state.faults() == []
    waiting = {key for key, end in scenario.ends.items() if end == "scheduled"}
    assert set(state.queue) == waiting
    assert _are_ends(scenario, {key: state.records[key] for key in scenario.ends}), state.records
    assert await _left(outside) == {f"task:{key}" for key in waiting}
    for key, result in scenario.results.items():
        execution = await found(outside, key)
        assert await execution.get_result() == result


async def _left(outside: Docket) -> set[str]:
    return {name for name in await leftovers(outside) if name != "strikes"}


def describe(walked: Walked) -> str:
    """The numbers of a walk, for a person."""
    missed = f", {walked.missed} more {_MISSED}" if walked.missed else ""
    return f"{walked.scenario.name}: {walked.points} crash points walked{missed}"
