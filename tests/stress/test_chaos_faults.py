"""The faults of chaos: which are drawn, what is told of them, and what they do."""

import asyncio
from pathlib import Path

import pytest

from stress.chaos.evidence import knowledge
from stress.chaos.fault_injector import FaultInjector, load_delay
from stress.chaos.fleet import Fleet
from stress.chaos.hosts import Host
from stress.chaos.network import Direct, network
from stress.chaos.plan import (
    QUIET_SECONDS,
    TRAITS,
    Fault,
    Kind,
    Topology,
    draw_plan,
    kinds_of,
)
from stress.chaos.record import InjectedFault, Rollback
from stress.chaos.sentinels import DOWN_AFTER_SECONDS
from stress.chaos.server import Server
from stress.processes import Census

# The plan.


def test_a_seed_draws_the_same_plan_again_and_another_seed_another() -> None:
    assert draw_plan(7, 60, 2) == draw_plan(7, 60, 2)
    assert draw_plan(7, 60, 2) != draw_plan(8, 60, 2)


def test_a_minute_has_every_kind_of_fault_at_least_once() -> None:
    plan = draw_plan(1, 90, 2)
    assert {fault.kind for fault in plan} == set(kinds_of(Topology.ONE))
    assert set(TRAITS) == set(Kind)
    assert plan[0].at >= QUIET_SECONDS
    assert [fault.at for fault in plan] == sorted(fault.at for fault in plan)
    assert {fault.host for fault in plan} == {0, 1}
    assert all((fault.lasts > 0) == (TRAITS[fault.kind].lasts != (0.0, 0.0)) for fault in plan)


def test_under_sentinels_the_servers_fail_over_and_no_network_of_ours_is_there_to_break() -> None:
    kinds = {fault.kind for fault in draw_plan(1, 90, 2, Topology.SENTINEL)}
    assert kinds == set(kinds_of(Topology.SENTINEL))
    assert {Kind.FAILOVER, Kind.PRIMARY_KILL, Kind.PRIMARY_STOP, Kind.REPLICA_KILL} <= kinds
    assert not any(kind.name.startswith(("NET", "SERVER", "CLIENT")) for kind in kinds)
    assert TRAITS[Kind.PRIMARY_STOP].lasts[0] > DOWN_AFTER_SECONDS


# Faults.


def fault(kind: Kind) -> Fault:
    return Fault(32.5, kind, 0, 0.0, 0.5)


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (Kind.KILL_WORKER, "host 0"),
        (Kind.NET_CUT, "host 0"),
        (Kind.SERVER_OOM, "server"),
        (Kind.CLIENT_KILL, "server"),
        (Kind.PRIMARY_STOP, "server"),
    ],
)
def test_a_fault_is_told_with_whom_it_concerns(kind: Kind, target: str) -> None:
    assert fault(kind).target == target
    assert InjectedFault(fault(kind), 0.0).line == f"   32.5 s  {target:6}  {kind}"


@pytest.mark.anyio
async def test_a_host_has_one_fault_at_a_time_and_the_next_is_told_as_skipped(
    tmp_path: Path,
) -> None:
    server = Server(tmp_path / "data")
    fleet = Fleet(tmp_path, server, 1.0, 1)
    host = Host(
        *(0, tmp_path, Direct(server.url), fleet.census),
        docket="chaos",
        processes=1,
        clock_off_seconds=0,
    )
    fleet.hosts.append(host)
    told: list[str] = []
    injector = FaultInjector(fleet, lambda injected: told.append(injected.line))
    host.busy_with = Kind.DRAIN

    await injector.inject(fault(Kind.KILL_SUPERVISOR))

    assert told == [
        (
            "   32.5 s  host 0  skipped: kill -9 of a supervisor"
            " (the host has another one: drain and start again)"
        )
    ]
    assert host.busy_with is Kind.DRAIN
    host.busy_with = None
    await injector.inject(fault(Kind.STOP_HOST))
    assert told[1:] == ["   32.5 s  host 0  SIGSTOP of a whole process tree"]
    assert host.busy_with is None


def test_the_server_was_away_in_its_own_faults_and_in_failovers() -> None:
    stopped = InjectedFault(fault(Kind.SERVER_STOP), 1.0, ended=2.0)
    elsewhere = InjectedFault(fault(Kind.NET_HALF_OPEN), 3.0, ended=4.0)
    known = knowledge([], Census(), [stopped, elsewhere], {}, [Rollback(5.0, 6.0)])
    assert set(known.away) == {(1.0, 2.0), (5.0, 6.0)}


def test_a_load_is_slowed_by_long_pauses_or_by_rare_ones() -> None:
    assert load_delay(2.0, 150 * 1000) == 2000
    assert load_delay(2.0, 0) == 2_000_000
    assert load_delay(1.0, 150 * 1_000_000) == -70


# The network.


@pytest.mark.anyio
async def test_a_network_delays_cuts_refuses_and_goes_silent() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, network(server.sockets[0].getsockname()[1]) as between:
        port = int(between.url.rpartition(":")[2].partition("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"a")
        assert await reader.read(1) == b"a"
        between.hold()
        writer.write(b"b")
        silent = asyncio.create_task(reader.read(1))
        assert (await asyncio.wait({silent}, timeout=0.05))[1] == {silent}
        between.flow()
        assert await silent == b"b"
        between.delay_seconds = 0.05
        began = asyncio.get_running_loop().time()
        writer.write(b"c")
        assert await reader.read(1) == b"c"
        assert asyncio.get_running_loop().time() - began >= 0.1
        await between.refuse()
        assert await reader.read(1) == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await between.open()
        _, again = await asyncio.open_connection("127.0.0.1", port)
        again.close()
        writer.close()
