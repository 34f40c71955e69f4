"""Drains of the real program beside another pool, by what the tasks themselves wrote down."""

import asyncio
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from docket import Docket, Execution, ExecutionState
from stress.ports import free_ports
from tests.support.dockets import found
from tests.support.hosts import PATIENCE, Hosts, pids_of
from tests.support.parameters import in_full, sets_in_full
from tests.support.servers import Process, machinery, valkey
from tests.support.store import until
from tests.support.supervised import Program

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


@pytest.fixture
def hosts(server: str, docket_name: str, tmp_path: Path) -> Hosts:
    return Hosts(server, docket_name, tmp_path / "ledger")


def sent_apart(program: Program, *numbers: int) -> None:
    """Signals that are no echoes of each other."""
    for number in numbers:
        program.send(number)
        program.outwait_echoes()


async def hear(
    execution: Execution, note: Callable[[int | None], None], ready: asyncio.Event
) -> None:
    """Note how far a task is each time that it tells."""
    async for event in execution.progress.subscribe(ready):
        note(event["current"])


async def deaths(docket: Docket, key: str) -> int:
    return int((await docket.transitions.fetch(key)).get(b"deaths", 0))


async def test_what_runs_finishes_once_though_the_drain_outlasts_its_lease_four_times(
    hosts: Hosts,
) -> None:
    lease = ("--redelivery-timeout", "2s")
    async with hosts.open() as docket:
        with hosts.ready(*lease) as drained:
            long = await docket.add("work", key="long")(8.0)
            hosts.wait_until_begun(drained, "long")
            with hosts.ready(*lease) as idle:
                workers = pids_of(drained)
                assert drained.end() == 0
                assert await long.get_result(timeout=PATIENCE) in workers
                assert idle.status()["totals"]["started"] == 0
                idle.end()
    (run,) = hosts.ledger.runs("long")
    assert run.how == "finished"


async def test_what_still_runs_at_the_deadline_starts_elsewhere_within_a_second(
    hosts: Hosts,
) -> None:
    keys = [f"long-{n}" for n in range(8)]
    async with hosts.open() as docket:
        with hosts.ready("--drain-timeout", "1s") as drained:
            quick = await docket.add("work", key="quick")(0.5)
            for key in keys:
                await docket.add("work", key=key)(60.0)
            hosts.wait_until_begun(drained, "quick", *keys)
            with hosts.ready("--drain-timeout", "0s") as other:
                deadline = time.monotonic() + 1.0
                assert drained.end() == 0
                hosts.wait_for_runs(other, 2, *keys)
                for key in keys:
                    first, second = hosts.ledger.runs(key)
                    assert first.how == "cancelled"
                    assert first.seen < second.began < deadline + 1.0
                    assert (await found(docket, key)).state is ExecutionState.RUNNING
                    assert await deaths(docket, key) == 0
                assert await quick.get_result(timeout=PATIENCE) not in pids_of(other)
                other.end()
        # Nothing was acknowledged that did not finish.
        states = {(await found(docket, key)).state for key in keys}
        assert states == {ExecutionState.QUEUED}


async def test_what_ignores_its_cancellation_is_never_at_work_twice(hosts: Hosts) -> None:
    async with hosts.open() as docket:
        with hosts.ready("--drain-timeout", "1s") as drained:
            await docket.add("stubborn", key="deaf")(60.0)
            hosts.wait_until_begun(drained, "deaf")
            with hosts.ready("--drain-timeout", "0s") as other:
                assert drained.end() == 0
                drained.wait_for("ignored its drain; killed")
                hosts.wait_for_runs(other, 2, "deaf")
                assert hosts.ledger.overlaps("deaf") == []
                assert await deaths(docket, "deaf") == 0
                first, second = hosts.ledger.runs("deaf")
                # It went on beyond its deadline, for as long as its cleanup might have taken.
                assert first.how is None
                assert second.began - first.seen < 1.0
                assert second.pid in pids_of(other)
                other.send(signal.SIGKILL)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (signal.SIGTERM, signal.SIGINT),
        *sets_in_full((signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGTERM)),
    ],
)
async def test_a_second_signal_hands_back_and_a_third_kills(
    hosts: Hosts, first: int, again: int
) -> None:
    async with hosts.open() as docket:
        with hosts.ready("--drain-timeout", "10m", processes=1) as drained:
            await docket.add("stubborn", key="deaf")(60.0)
            await docket.add("work", key="good")(60.0)
            hosts.wait_until_begun(drained, "deaf", "good")
            sent_apart(drained, first)
            assert {run.how for run in hosts.ledger.runs()} == {None}
            sent_apart(drained, again)
            assert "again: what still runs is handed back now" in drained.log
            assert hosts.ledger.runs("good")[0].how == "cancelled"
            assert hosts.ledger.runs("deaf")[0].how is None
            assert (await found(docket, "good")).state is ExecutionState.QUEUED
            drained.send(first)
            drained.wait_for("again: killing the workers")
            killed = time.monotonic()
            assert drained.code() == 0
            assert time.monotonic() - killed < 5
            drained.wait_for("put back 1 task of worker 1")
            assert (await found(docket, "deaf")).state is ExecutionState.QUEUED


@pytest.mark.parametrize("echo", [signal.SIGTERM, *in_full(signal.SIGINT)])
async def test_a_signal_and_its_echo_within_a_second_count_once(hosts: Hosts, echo: int) -> None:
    async with hosts.open() as docket:
        with hosts.ready(processes=1) as drained:
            short = await docket.add("work", key="short")(3.0)
            hosts.wait_until_begun(drained, "short")
            drained.send(signal.SIGTERM)
            drained.wait_for("SIGTERM: draining")
            drained.send(echo)
            assert drained.code() == 0
            await short.get_result(timeout=PATIENCE)
    assert not re.search("again: ", drained.log)
    assert [run.how for run in hosts.ledger.runs()] == ["finished"]


async def test_limits_retries_chains_and_progress_go_on_through_a_drain(hosts: Hosts) -> None:
    async with hosts.open() as docket:
        with hosts.ready() as drained:
            holder = await docket.add("alone", key="holder")(10.0)
            hosts.wait_until_begun(drained, "holder")
            waiter = await docket.add("alone", key="waiter")(0.1)
            failing = await docket.add("at_second_try", key="failing")(8.0)
            stepping = await docket.add("in_steps", key="stepping")(80)
            steps: list[int | None] = []
            ready = asyncio.Event()
            listening = asyncio.create_task(hear(stepping, steps.append, ready))
            await ready.wait()
            await docket.add("again_and_again", key="chain")(8.0)
            hosts.wait_until_begun(drained, "holder", "failing", "stepping", "chain")
            with hosts.ready() as other:
                here = pids_of(drained)
                assert drained.end() == 0
                there = pids_of(other)
                assert await holder.get_result(timeout=PATIENCE) in here
                assert await waiter.get_result(timeout=PATIENCE) in there
                assert await failing.get_result(timeout=PATIENCE) in there
                assert await stepping.get_result(timeout=PATIENCE) in here
                hosts.wait_for_runs(other, 2, "chain")
                await docket.cancel("chain")
                other.end()
        await until(lambda: steps[-1:] == [80])
        assert steps == sorted(steps, key=lambda step: step or 0)
        listening.cancel()
        await asyncio.wait([listening])
    ledger = hosts.ledger
    # The slot was free only when its holder had finished.
    assert ledger.runs("holder")[0].seen <= ledger.runs("waiter")[0].began
    assert [run.how for run in ledger.runs("failing")] == ["failed", "finished"]
    chain = ledger.runs("chain")
    assert ledger.overlaps("chain") == []
    pids = [run.pid in here for run in chain]
    assert pids == sorted(pids, reverse=True)
    assert set(pids) == {True, False}


async def test_a_slot_goes_back_with_the_run_that_is_requeued(hosts: Hosts) -> None:
    async with hosts.open() as docket:
        with hosts.ready("--drain-timeout", "500ms") as drained:
            await docket.add("alone", key="holder")(60.0)
            hosts.wait_until_begun(drained, "holder")
            await docket.add("alone", key="waiter")(60.0)
            with hosts.ready("--drain-timeout", "0s") as other:
                assert drained.end() == 0
                hosts.wait_until_begun(other, "waiter")
                # Who is handed back stands behind who waited when it gave the slot up.
                assert len(hosts.ledger.runs("holder")) == 1
                await docket.cancel("waiter")
                hosts.wait_for_runs(other, 2, "holder")
                # Before that pool ends too, and hands back what it runs.
                first, second = hosts.ledger.runs("holder")
                (waiter,) = hosts.ledger.runs("waiter")
                other.end()
    assert first.seen <= waiter.began
    assert waiter.seen <= second.began


async def test_what_is_due_later_waits_for_its_time_whoever_drains(hosts: Hosts) -> None:
    async with hosts.open() as docket:
        with hosts.ready() as drained:
            await docket.add("work", key="long")(3.0)
            hosts.wait_until_begun(drained, "long")
            when = datetime.now(UTC) + timedelta(seconds=1.5)
            soon = await docket.add("work", key="soon", when=when)(0.0)
            late = datetime.now(UTC) + timedelta(hours=1)
            await docket.add("work", key="late", when=late)(0.0)
            drained.send(signal.SIGTERM)
            drained.wait_for("SIGTERM: draining")
            with hosts.ready() as other:
                ready_at = datetime.now(UTC)
                # While the other one drains: it may promote, and claims nothing.
                assert await soon.get_result(timeout=PATIENCE) in pids_of(other)
                assert drained.code() == 0
                other.end()
        await soon.sync()
        assert soon.started_at is not None
        assert when <= soon.started_at < max(when, ready_at) + timedelta(seconds=2)
        assert (await found(docket, "late")).state is ExecutionState.SCHEDULED


async def test_a_drain_ordered_over_the_control_socket_is_that_of_a_signal(
    hosts: Hosts, tmp_path: Path
) -> None:
    control = str(tmp_path / "control.sock")
    options = ("--control", control, "--drain-timeout", "1s")
    async with hosts.open() as docket:
        with hosts.ready(*options, processes=1) as drained:
            await docket.add("work", key="long")(60.0)
            hosts.wait_until_begun(drained, "long")
            arguments = ("-m", "supervisor.cli", "ctl", "--control", control, "drain")
            ordered = await asyncio.create_subprocess_exec(sys.executable, *arguments)
            assert await ordered.wait() == 0
            assert drained.code() == 0
        assert hosts.ledger.runs("long")[0].how == "cancelled"
        assert (await found(docket, "long")).state is ExecutionState.QUEUED


async def test_a_worker_that_retires_without_a_deadline_keeps_its_leases_until_it_has_finished(
    hosts: Hosts,
) -> None:
    async with hosts.open() as docket:
        with hosts.ready("--redelivery-timeout", "2s") as pool:
            keys = [f"long-{n}" for n in range(10)]
            executions = [await docket.add("work", key=key)(8.0) for key in keys]
            hosts.wait_until_begun(pool, *keys)
            pool.send(signal.SIGTTOU)
            pool.until(lambda: len(pool.workers()) == 1, "nobody retired")
            for execution in executions:
                await execution.get_result(timeout=PATIENCE)
            assert pool.end() == 0
    assert [run.how for run in hosts.ledger.runs()] == ["finished"] * len(keys)


class TestWithTheServerAway:
    """A server that is killed in a drain, and is started again with its data, or is not."""

    @pytest.fixture
    def kept(self) -> Iterator[Process]:
        with machinery() as machines:
            (port,) = free_ports(1)
            yield machines.server(
                valkey(), port=port, appendonly="yes", appendfsync="always", save=""
            )

    @pytest.fixture
    def hosts(self, kept: Process, docket_name: str, tmp_path: Path) -> Hosts:
        return Hosts(f"redis://127.0.0.1:{kept.port}/0", docket_name, tmp_path / "ledger")

    async def test_what_finished_meanwhile_is_recorded_when_it_is_back(
        self, hosts: Hosts, kept: Process
    ) -> None:
        async with hosts.open() as docket:
            with hosts.ready("--drain-timeout", "60s") as drained:
                short = await docket.add("work", key="short")(2.0)
                hosts.wait_until_begun(drained, "short")
                drained.send(signal.SIGTERM)
                drained.wait_for("SIGTERM: draining")
                kept.kill()
                drained.until(lambda: hosts.ledger.runs()[0].how == "finished", "never finished")
                drained.wait_for("waits for the server")
                workers = {each["pid"] for each in drained.status()["workers"]}
                kept.start()
                assert drained.code() == 0
                assert await short.get_result(timeout=PATIENCE) in workers
        assert len(hosts.ledger.runs("short")) == 1

    async def test_a_drain_ends_without_it_and_the_next_pool_runs_what_is_not_recorded(
        self, hosts: Hosts, kept: Process
    ) -> None:
        async with hosts.open() as docket:
            with hosts.ready("--drain-timeout", "1s") as drained:
                cut_off = await docket.add("work", key="cut off")(4.0)
                hosts.wait_until_begun(drained, "cut off")
                kept.kill()
                drained.wait_for("waits for the server")
                began = time.monotonic()
                assert drained.end() == 0
                # The deadline, the grace of a cleanup, that of an adoption; no more.
                assert time.monotonic() - began < 1 + 5 + 10 + 5
                drained.wait_for("left for another pool to redeliver")
            kept.start()
            with hosts.ready() as other:
                assert await cut_off.get_result(timeout=PATIENCE) in pids_of(other)
                assert await deaths(docket, "cut off") == 0
                other.end()
        assert [run.how for run in hosts.ledger.runs()] == ["cancelled", "finished"]
