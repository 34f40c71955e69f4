"""Several hosts on one docket: one dies, freezes, is cut off; and its tasks end once."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psutil
import pytest
import redis

from docket import Docket, ExecutionState
from docket.store.keys import Keys
from tests.support.dockets import found
from tests.support.hosts import (
    ADOPTION_SECONDS,
    PATIENCE,
    SILENCE_SECONDS,
    Hosts,
    kill_tree,
    pids_of,
    signal_all,
    tree_of,
)
from tests.support.partitions import (
    Namespaces,
    Parting,
    StallingProxy,
    namespaces,
    why_no_namespaces,
)
from tests.support.supervised import Program

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240), pytest.mark.long]

ADOPTED_WITHIN = SILENCE_SECONDS + ADOPTION_SECONDS
#: From its return until a host that was taken for dead has stopped what others run now.
STOPPED_WITHIN = 5.0


@pytest.fixture
def hosts(server: str, docket_name: str, tmp_path: Path) -> Hosts:
    return Hosts(server, docket_name, tmp_path / "ledger")


async def deaths(docket: Docket, key: str) -> int:
    return int((await docket.transitions.fetch(key)).get(b"deaths", 0))


async def add_many(docket: Docket, count: int, seconds: float, name: str = "work") -> list[str]:
    keys = [f"{name}-{seconds:g}s-{n}" for n in range(count)]
    for key in keys:
        await docket.add(name, key=key)(seconds)
    return keys


async def test_a_host_that_dies_as_a_whole_is_adopted_when_its_heartbeats_were_missed(
    hosts: Hosts,
) -> None:
    async with hosts.open() as docket:
        with hosts.ready(processes=3) as doomed:
            keys = await add_many(docket, 24, 60.0)
            hosts.wait_until_begun(doomed, *keys)
            with hosts.ready("--drain-timeout", "0s", processes=3) as other:
                killed = kill_tree(doomed)
                hosts.wait_for_runs(other, 2, *keys)
                there = pids_of(other)
                for key in keys:
                    _, second = hosts.ledger.runs(key)
                    assert second.pid in there
                    assert second.began - killed < ADOPTED_WITHIN
                    assert await deaths(docket, key) == 0
                client = docket.connections.client()
                registered = await client.zrange(docket.keys.workers, 0, -1)
                assert len(registered) == 3
                other.end()


async def test_what_the_workers_of_a_killed_supervisor_hand_back_starts_elsewhere_at_once(
    hosts: Hosts,
) -> None:
    async with hosts.open() as docket:
        with hosts.ready("--drain-timeout", "1s") as doomed:
            keys = await add_many(docket, 8, 60.0)
            quick = await docket.add("work", key="quick")(0.5)
            hosts.wait_until_begun(doomed, "quick", *keys)
            orphans = pids_of(doomed)
            with hosts.ready("--drain-timeout", "0s") as other:
                doomed.send(signal.SIGKILL)
                deadline = time.monotonic() + 1.0
                hosts.wait_for_runs(other, 2, *keys)
                for key in keys:
                    first, second = hosts.ledger.runs(key)
                    assert first.how == "cancelled"
                    assert first.seen < second.began < deadline + 1.0
                assert await quick.get_result(timeout=PATIENCE) in orphans
                other.until(
                    lambda: not any(map(psutil.pid_exists, orphans)), "the orphans did not end"
                )
                other.end()
    assert len(hosts.ledger.runs("quick")) == 1


class Away:
    """A host that is taken for dead while it is away, and comes back."""

    def __init__(self, hosts: Hosts, docket: Docket, away: Program, other: Program) -> None:
        self.hosts = hosts
        self.docket = docket
        self.away = away
        self.other = other
        self.workers = sorted(each.pid for each in away.family())
        self.short: list[str] = []
        self.long: list[str] = []
        self.parted_at = self.rejoined_at = 0.0

    async def fill(self) -> None:
        """Tasks that will be over when it comes back, and tasks that will not."""
        self.short = await add_many(self.docket, 4, 8.0)
        self.long = await add_many(self.docket, 4, 25.0)
        await self.docket.add("alone", key="alone")(25.0)
        self.hosts.wait_until_begun(self.away, *self.keys)

    @property
    def keys(self) -> list[str]:
        return [*self.short, *self.long, "alone"]

    async def leave_and_return(self, parting: Parting) -> None:
        parting.part()
        self.parted_at = time.monotonic()
        self.hosts.wait_for_runs(self.other, 2, *self.keys)
        parting.rejoin()
        self.rejoined_at = time.monotonic()

    def check_the_adoption(self) -> None:
        for key in self.keys:
            _, second = self.hosts.ledger.runs(key)
            assert second.began - self.parted_at < ADOPTED_WITHIN

    async def check_the_ends(self, there: set[int]) -> None:
        """Each ended once, as the one that adopted it ended it."""
        for key in self.keys:
            execution = await found(self.docket, key)
            assert await execution.get_result(timeout=PATIENCE) in there
            assert execution.state is ExecutionState.COMPLETED
            assert await deaths(self.docket, key) == 0
            first, second = self.hosts.ledger.runs(key)
            assert second.how == "finished"
            # Late as they were, its own runs neither count nor go on.
            assert first.how is not None
            assert first.seen < self.rejoined_at + STOPPED_WITHIN

    def check_that_it_counts_what_it_ended(self) -> None:
        """One, and those of its own that ended late, which count as superseded too."""
        late = [self.hosts.ledger.runs(key)[0].how for key in self.keys].count("finished")
        self.away.until(
            lambda: self.away.status()["totals"]["succeeded"] == 1 + late, "not counted"
        )

    async def check_that_it_works_again(self) -> None:
        self.away.wait_for("goes on under a new name")
        self.other.end()
        again = await self.docket.add("work", key="again")(0.0)
        assert await again.get_result(timeout=PATIENCE) in set(self.workers)
        assert not [line for line in self.away.lines if " died" in line]
        assert sorted(each.pid for each in self.away.family()) == self.workers


async def test_a_host_that_was_frozen_beyond_its_lease_spoils_nothing_when_it_goes_on(
    hosts: Hosts,
) -> None:
    async with hosts.open() as docket:
        with hosts.ready() as frozen, hosts.pool() as other:
            case = Away(hosts, docket, frozen, other)
            await case.fill()
            other.wait_for("pool ready")
            there, tree = pids_of(other), tree_of(frozen)
            freeze = partial(signal_all, tree, signal.SIGSTOP)
            await case.leave_and_return(
                Parting(freeze, partial(signal_all, tree[::-1], signal.SIGCONT))
            )
            case.check_the_adoption()
            await case.check_the_ends(there)
            await case.check_that_it_works_again()
            case.check_that_it_counts_what_it_ended()
            assert frozen.end() == 0


async def test_a_host_whose_connections_stall_spoils_nothing_when_they_flow_again(
    hosts: Hosts, server: str
) -> None:
    proxy = StallingProxy(server)
    try:
        async with hosts.open() as docket:
            with hosts.ready(url=proxy.url) as cut_off:
                case = await partitioned(hosts, docket, cut_off, Parting(proxy.stall, proxy.flow))
                case.check_that_it_counts_what_it_ended()
                assert cut_off.end() == 0
                assert case.rejoined_at > case.parted_at
    finally:
        proxy.close()


async def partitioned(
    hosts: Hosts, docket: Docket, cut_off: Program, parting: Parting, **other_pool: object
) -> Away:
    """A host that runs on without the server, beside one that has it."""
    options = {str(key): value for key, value in other_pool.items()}
    with hosts.pool(**options) as other:
        case = Away(hosts, docket, cut_off, other)
        await case.fill()
        other.wait_for("pool ready")
        there = {each.pid for each in other.family()}
        await case.leave_and_return(parting)
        case.check_the_adoption()
        # Nobody could know here whether the slot was given to another: so it was given up in time.
        assert hosts.ledger.overlaps("alone") == []
        assert hosts.ledger.runs("alone")[0].how == "cancelled"
        await case.check_the_ends(there)
        await case.check_that_it_works_again()
    return case


class TestInTwoNetworkNamespaces:
    """The server is in the second one; the wire to the first is taken down and up."""

    @pytest.fixture
    def wired(self, tmp_path: Path) -> Iterator[Namespaces]:
        refusal = why_no_namespaces()
        if refusal is not None:
            pytest.skip(refusal)
        with namespaces(tmp_path) as made:
            yield made

    @pytest.fixture
    def hosts(self, wired: Namespaces, docket_name: str, tmp_path: Path) -> Hosts:
        return Hosts(wired.socket_url, docket_name, tmp_path / "ledger")

    def command(self, wired: Namespaces, name: str) -> tuple[str, ...]:
        return (*wired.inside(name), *Program(()).command)

    @pytest.mark.full  # connections that stall are the same to the host, without a wire
    async def test_a_host_whose_wire_was_cut_spoils_nothing_when_it_is_mended(
        self, hosts: Hosts, wired: Namespaces
    ) -> None:
        first, second = (self.command(wired, each) for each in (wired.first, wired.second))
        async with hosts.open() as docket:
            with hosts.ready(url=wired.wire_url, command=first) as cut_off:
                parting = Parting(wired.cut, wired.mend)
                await partitioned(
                    hosts, docket, cut_off, parting, url=wired.wire_url, command=second
                )
                assert cut_off.end() == 0


async def test_a_pool_goes_on_beside_records_that_somebody_overwrote(hosts: Hosts) -> None:
    async with hosts.open() as docket:
        with hosts.ready("--concurrency", "4") as pool:
            client = docket.connections.client()
            running = await add_many(docket, 8, 3.0)
            hosts.wait_until_begun(pool, *running)
            queued = await add_many(docket, 8, 0.0)
            when = datetime.now(UTC) + timedelta(seconds=1)
            for n in range(4):
                await docket.add("work", key=f"due-{n}", when=when)(0.0)
            for key in (running[0], queued[0], "due-0"):
                await client.delete(docket.keys.record(key))
                await client.lpush(docket.keys.record(key), "foreign")
            # Of the worker that runs it, it is adopted with the rest, or without.
            for pid in pids_of(pool):
                os.kill(pid, signal.SIGKILL)
            for key in [*running[1:], *queued[1:], "due-1", "due-2", "due-3"]:
                await (await found(docket, key)).get_result(timeout=PATIENCE)
            pool.until(lambda: len(pool.workers()) == 2, "never replaced")
            assert pool.status()["totals"]["crashes"] == 2
            for key in (running[0], queued[0], "due-0"):
                pool.wait_for(f"{key} was overwritten by somebody with a list")
            assert pool.end() == 0
            assert await client.xlen(docket.keys.stream) == 0
            assert await client.zcard(docket.keys.queue) == 0


async def test_a_pool_goes_on_whatever_somebody_wrote_into_its_docket(hosts: Hosts) -> None:
    async with hosts.open() as docket:
        with hosts.ready("--concurrency", "4") as pool:
            client, keys = docket.connections.client(), docket.keys
            pids = pids_of(pool)
            when = datetime.now(UTC) + timedelta(seconds=1)
            garbage = {
                "attempt": b"x",
                "when": b"nan",
                "deaths": b"x",
                "function": b"\xff",
                "generation": b"",
                "state": b"x",
                "limits": b"\xdd\xff",
            }
            for field, value in garbage.items():
                await docket.add("work", key=f"bad-{field}", when=when)(0.0)
                await client.hset(keys.record(f"bad-{field}"), field, value)
            good = await add_many(docket, 4, 0.0)
            await client.zadd(keys.queue, {b"\xff": 1})
            await client.zadd(keys.workers, {b"\xff": "inf"})
            await client.xadd(keys.stream, {b"k": b"\xff\n"})
            await client.set(keys.watch, b"x")
            for field in ("attempt", "when", "deaths", "function", "generation"):
                pool.wait_for(f"Task b'bad-{field}' has failed: The record of the task is malf")
            await client.delete(keys.epochs)
            await client.set(keys.epochs, b"x")
            pool.wait_for(f"{keys.epochs} was overwritten by somebody with a string")
            good += await add_many(docket, 4, 0.1)
            for key in good:
                await (await found(docket, key)).get_result(timeout=PATIENCE)
            # No worker died of it.
            assert pids_of(pool) == pids
            assert pool.status()["totals"]["crashes"] == 0
            assert pool.end() == 0


async def test_there_is_one_steward_a_pool_and_two_do_not_fight(hosts: Hosts, server: str) -> None:
    wake = Keys(hosts.docket).wake_channel
    look = redis.Redis.from_url(server)

    def stewards() -> int:
        return look.pubsub_numsub(wake)[0][1]

    try:
        async with hosts.open() as docket:
            with hosts.ready(processes=3) as one, hosts.ready(processes=3) as two:
                one.until(lambda: stewards() == 2, "not one steward a pool")
                when = datetime.now(UTC) + timedelta(seconds=1)
                due = [await docket.add("work", key=f"due-{n}", when=when)(0.0) for n in range(50)]
                for execution in due:
                    await execution.get_result(timeout=PATIENCE)
                for pid in one.workers().values():
                    os.kill(pid, signal.SIGKILL)
                    one.until(lambda pid=pid: pid not in pids_of(one), "never noticed")
                one.until(lambda: len(one.workers()) == 3, "never replaced")
                one.until(lambda: stewards() == 2, "not one steward a pool")
                assert one.end() == 0
                two.until(lambda: stewards() == 1, "a steward stayed behind")
                assert two.end() == 0
                assert stewards() == 0
    finally:
        look.close()
    assert len(hosts.ledger.runs()) == 50


@pytest.mark.full  # the hosts of chaos, in every run, have clocks that are seconds apart
async def test_hosts_whose_clocks_are_hours_apart_agree_on_who_lives_and_what_is_due(
    hosts: Hosts, server: str
) -> None:
    wrong = ("--tasks", "tests.support.clocks_ahead:tasks")
    look = redis.Redis.from_url(server)
    environment = {"LEDGER": str(hosts.ledger.path)}
    ahead, behind = ({**environment, "HOURS_AHEAD": hours} for hours in ("3", "-3"))
    try:
        async with hosts.open() as docket:
            with (
                hosts.ready(*wrong, environment=ahead) as one,
                hosts.ready(*wrong, environment=behind) as two,
            ):
                when = datetime.now(UTC) + timedelta(seconds=2)
                due = [await docket.add("work", key=f"due-{n}", when=when)(0.1) for n in range(30)]
                retried = await docket.add("at_second_try", key="retried")(0.0)
                for execution in [*due, retried]:
                    await execution.get_result(timeout=PATIENCE)
                    await execution.sync()
                starts = [each.started_at for each in due if each.started_at is not None]
                assert all(timedelta(0) <= at - when < timedelta(minutes=5) for at in starts)
                assert len(starts) == 30
                seconds, _ = look.time()
                beats = look.zrange(Keys(hosts.docket).workers, 0, -1, withscores=True)
                assert len(beats) == 4
                assert all(abs(score / 1000 - seconds) < 2 * SILENCE_SECONDS for _, score in beats)
                # Longer than a silence that would be taken for a death.
                kept = await docket.add("work", key="kept")(SILENCE_SECONDS + 3)
                await kept.get_result(timeout=PATIENCE)
                assert (one.end(), two.end()) == (0, 0)
    finally:
        look.close()
    assert len(hosts.ledger.runs("kept")) == 1
    for program in (one, two):
        assert "counts as dead" not in program.log
