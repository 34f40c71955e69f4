"""Deaths in every state, of workers, of the nursery and of the supervisor, in the real program."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.parameters import in_full
from tests.support.servers import Process, machinery, valkey
from tests.support.supervised import Program, ready_pool
from tests.support.victims import (
    STALLING,
    Fragility,
    deaths_of,
    docket_at,
    kill_all,
    no_zombie_in,
    record,
    runs_no_more,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(150)]

#: Deaths are to be followed at once, and as many of them as a test makes.
RESTLESS = ("--backoff-max", "0s", "--max-restarts", "100000")


@pytest.fixture
def fragile(tmp_path: Path) -> Fragility:
    return Fragility(tmp_path)


@pytest.fixture
def own_server() -> Iterator[Process]:
    """A server that may be killed and started again, empty."""
    with machinery() as machines:
        yield machines.server(valkey())


def url_of(server: Process) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


def states(program: Program) -> dict[int, str]:
    """Slot -> state."""
    return {each["slot"]: each["state"] for each in program.status()["workers"]}


def pid_of(program: Program, slot: int) -> int:
    return next(each["pid"] for each in program.status()["workers"] if each["slot"] == slot)


def pid_that_waits(program: Program, but: list[int]) -> int:
    """The pid of worker 1 that says it waits for the server; the others may have said so too."""
    others = "|".join(map(str, but))
    line = rf"worker 1 \(pid (?!(?:{others})\))(\d+)\) waits for the server"
    return int(program.wait_for(line)[1])


def full(program: Program, workers: int = 2) -> None:
    """Returns when so many workers are ready and nothing else is left of the pool's processes."""
    program.until(lambda: len(program.workers()) == workers, f"never {workers} workers")
    program.until(
        lambda: len(program.family()) == workers + 1 and no_zombie_in(program),
        "more processes than a nursery and its workers",
    )


# A worker, in each of its states.


async def test_a_worker_killed_while_it_starts_is_replaced(fragile: Fragility) -> None:
    with fragile.ready_pool(*RESTLESS) as program:
        first = program.workers()[1]
        fragile.make("hang-1")
        os.kill(first, signal.SIGKILL)
        program.until(lambda: pid_of(program, 1) not in (first, None), "never forked")
        second = pid_of(program, 1)
        assert states(program)[1] == "starting"
        os.kill(second, signal.SIGKILL)
        program.wait_for(rf"worker 1 \(pid {second}\) died: killed by SIGKILL; replaced")
        fragile.mend("hang-1")
        full(program)
        totals = program.status()["totals"]
        assert (totals["crashes"], totals["restarts"]) == (2, 2)
        assert program.end() == 0


async def test_a_worker_killed_while_it_waits_for_the_server_is_replaced_and_the_pool_waits_on(
    own_server: Process,
) -> None:
    arguments = (*STALLING, *RESTLESS, "--boot-timeout", "2s")
    with ready_pool(*arguments, url=url_of(own_server)) as program:
        before = program.workers()
        own_server.kill()
        program.until(lambda: program.get("/readyz")[0] == 503, "ready without a server")
        os.kill(before[1], signal.SIGKILL)
        second = pid_that_waits(program, but=[before[1]])
        os.kill(second, signal.SIGKILL)
        third = pid_that_waits(program, but=[before[1], second])
        own_server.start()
        # Longer than a boot may take by far; a server that is away is waited for.
        program.until(lambda: program.workers() == {1: third, 2: before[2]}, "never ready again")
        assert program.get("/readyz")[0] == 200
        assert program.status()["totals"]["crashes"] == 2
        full(program)
        assert program.end() == 0


async def test_a_server_that_is_away_for_longer_than_a_boot_may_take_is_waited_for(
    own_server: Process,
) -> None:
    # A worker says after a second that it waits.
    arguments = (*STALLING, *RESTLESS, "--boot-timeout", "2s", "--restart-window", "1s")
    with ready_pool(*arguments, url=url_of(own_server)) as program:
        before = program.workers()
        own_server.kill()
        os.kill(before[1], signal.SIGKILL)
        starting = pid_that_waits(program, but=[before[1]])
        program.until(
            lambda: next(
                each["uptime_seconds"] > 3
                for each in program.status()["workers"]
                if each["slot"] == 1
            ),
            "it was not left to wait",
        )
        own_server.start()
        program.until(lambda: program.workers() == {1: starting, 2: before[2]}, "never ready")
        assert program.end() == 0


async def test_an_idle_worker_that_is_killed_is_replaced_and_leaves_nothing() -> None:
    with ready_pool(*STALLING) as program:
        before = program.workers()
        os.kill(before[1], signal.SIGKILL)
        program.wait_for(r"worker 1 \(pid \d+\) died: killed by SIGKILL; replaced at once")
        program.until(lambda: program.workers().get(1, before[1]) != before[1], "never replaced")
        full(program)
        totals = program.status()["totals"]
        assert (totals["crashes"], totals["restarts"], totals["redelivered"]) == (1, 1, 0)
        async with docket_at(program.url) as docket:
            assert await (await docket.add("nap")(0.0)).get_result() in program.workers().values()
        assert program.end() == 0


async def test_the_tasks_of_a_worker_killed_while_it_works_run_elsewhere_with_a_death_each(
    server: str, docket_name: str
) -> None:
    arguments = (*STALLING, "--docket", docket_name, "--concurrency", "2")
    with ready_pool(*arguments, url=server) as program:
        async with docket_at(server, docket_name) as docket:
            naps = [await docket.add("nap", key=f"nap-{n}")(600.0) for n in range(3)]
            program.until(
                lambda: sum(each["in_flight"] for each in program.status()["workers"]) == 3,
                "never busy",
            )
            victim = max(program.status()["workers"], key=lambda each: each["in_flight"])
            lost = {each["key"] for each in victim["tasks"]}
            os.kill(victim["pid"], signal.SIGKILL)
            assert len(lost) == 2
            program.until(
                lambda: program.status()["totals"]["redelivered"] == len(lost), "not redelivered"
            )
            deaths = {each.key: deaths_of(server, each.key, docket_name) for each in naps}
            assert deaths == {key: int(key in lost) for key in deaths}
        full(program)
        assert program.end(signal.SIGQUIT) == 0


def at_work(program: Program) -> set[str]:
    """The keys of the tasks that run."""
    return {task["key"] for each in program.status()["workers"] for task in each["tasks"]}


async def test_ten_long_tasks_of_a_killed_worker_all_run_again_once_they_have_outlived_its_death(
    server: str, docket_name: str
) -> None:
    """And not one after the other, although one at a time may have been what killed it."""
    arguments = (*STALLING, "--docket", docket_name, "--concurrency", "10")
    with ready_pool(*arguments, url=server, processes=1) as program:
        async with docket_at(server, docket_name) as docket:
            keys = {(await docket.add("nap", key=f"nap-{n}")(3600.0)).key for n in range(10)}
            program.until(lambda: at_work(program) == keys, "never busy")
            program.send(signal.SIGTTIN)
            full(program)
            os.kill(pid_of(program, 1), signal.SIGKILL)
            program.until(
                lambda: program.status()["totals"]["redelivered"] == 10, "not redelivered"
            )
            program.until(lambda: len(at_work(program)) > 5, "they run one after the other")
            program.until(lambda: at_work(program) == keys, "they did not all run again")
            assert {deaths_of(server, key, docket_name) for key in keys} == {1}
        assert program.end(signal.SIGQUIT) == 0


async def test_what_kills_its_process_is_poison_and_not_the_long_tasks_that_run_beside_it(
    server: str, docket_name: str
) -> None:
    arguments = (*STALLING, "--docket", docket_name, "--concurrency", "10")
    with ready_pool(*arguments, *RESTLESS, url=server) as program:
        async with docket_at(server, docket_name) as docket:
            keys = {(await docket.add("nap", key=f"nap-{n}")(3600.0)).key for n in range(4)}
            program.until(lambda: at_work(program) == keys, "never busy")
            crash = await docket.add("crash", key="crash")(0.0)
            with pytest.raises(Exception, match="3 worker processes died"):
                await crash.get_result()
            program.until(lambda: at_work(program) == keys, "they did not all run again")
            # The first time nobody knows what it was; after that they have outlived that death.
            assert max(deaths_of(server, key, docket_name) for key in keys) == 1
        program.until(
            lambda: program.status()["totals"]["poisoned"] == 1, "the adopter did not say so"
        )
        assert program.end(signal.SIGQUIT) == 0


@pytest.mark.parametrize("processes", [1, 2])
async def test_the_tasks_of_a_worker_killed_while_it_drains_are_put_back_before_the_end(
    server: str, docket_name: str, processes: int
) -> None:
    """By another that drains; or by one that is forked for it, if there is no other."""
    arguments = (*STALLING, "--docket", docket_name, "--drain-timeout", "10m")
    with ready_pool(*arguments, url=server, processes=processes) as program:
        async with docket_at(server, docket_name) as docket:
            await docket.add("nap", key="lost")(600.0)
            program.until(
                lambda: any(each["tasks"] for each in program.status()["workers"]), "never busy"
            )
            busy = next(each for each in program.status()["workers"] if each["tasks"])
            program.send(signal.SIGTERM)
            program.until(lambda: states(program)[busy["slot"]] == "draining", "never draining")
            family = program.family()
            os.kill(busy["pid"], signal.SIGKILL)
            assert program.code() == 0
        program.wait_for(rf"worker \d \(pid {busy['pid']}\) died: .*; not replaced")
        assert psutil.wait_procs(family, timeout=10)[1] == []
    after = record(server, "lost", docket_name)
    assert (after["state"], deaths_of(server, "lost", docket_name)) == ("queued", 1)


async def test_a_worker_killed_after_it_has_drained_has_ended_well(tmp_path: Path) -> None:
    mark = tmp_path / "drained"
    with ready_pool(*STALLING, processes=1) as program:
        async with docket_at(program.url) as docket:
            await (await docket.add("linger")(str(mark))).get_result()
            program.send(signal.SIGTERM)
            program.until(lambda: mark.exists() and bool(mark.read_text()), "never drained")
            os.kill(int(mark.read_text()), signal.SIGKILL)
            assert program.code() == 0
    assert "ended: drained" in program.log
    assert "died" not in program.log


# A slot that cannot be kept alive.


async def test_a_slot_that_crash_loops_takes_nothing_from_the_others(fragile: Fragility) -> None:
    arguments = ("--backoff-max", "100ms", "--max-restarts", "100000", "--boot-timeout", "5s")
    fragile.make("die-1")
    with fragile.pool(*arguments, processes=3) as program:
        program.wait_for("pool ready: 2 of 3 workers")
        before = program.workers()
        assert set(before) == {2, 3}
        async with docket_at(program.url) as docket:
            naps = [await docket.add("nap")(0.1) for _ in range(20)]
            os.kill(before[2], signal.SIGKILL)
            program.until(
                lambda: program.workers().get(2, before[2]) != before[2], "never replaced"
            )
            assert len([await each.get_result() for each in naps]) == 20
        assert program.workers()[3] == before[3]
        fragile.mend("die-1")
        full(program, 3)
        assert program.end() == 0


async def test_slots_that_hang_while_they_start_leave_the_others_their_turn(
    fragile: Fragility,
) -> None:
    """As many as may start at once hang, again and again; the last one starts all the same."""
    hanging = max(2, len(os.sched_getaffinity(0)))
    arguments = (*RESTLESS, "--boot-timeout", "3s", "--restart-window", "10m")
    with fragile.ready_pool(*arguments, processes=hanging + 1) as program:
        before = program.workers()
        fragile.make(*(f"hang-{slot}" for slot in range(1, hanging + 1)))
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        last = hanging + 1
        program.until(
            lambda: program.workers().get(last, before[last]) != before[last], "never its turn"
        )
        fragile.mend(*(f"hang-{slot}" for slot in range(1, hanging + 1)))
        full(program, hanging + 1)
        assert program.end() == 0


async def test_giving_up_drains_first_ends_with_4_and_says_why_last(fragile: Fragility) -> None:
    with fragile.ready_pool("--backoff-max", "0s", "--max-restarts", "3") as program:
        async with docket_at(program.url) as docket:
            task = await docket.add("nap", key="in-time")(5.0)
            program.until(
                lambda: any(each["tasks"] for each in program.status()["workers"]), "never busy"
            )
            idle, busy = sorted(program.status()["workers"], key=lambda each: len(each["tasks"]))
            fragile.make("die-*")
            os.kill(idle["pid"], signal.SIGKILL)
            program.wait_for(r"draining .* more than 3 restarts in 1m00s")
            assert await task.get_result() == busy["pid"]
            family = program.family()
            assert program.code() == 4
        assert psutil.wait_procs(family, timeout=10)[1] == []
    last = program.lines[-1]
    assert f"more than 3 restarts in 1m00s; last: worker {idle['slot']}" in last
    assert "killed by SIGKILL" in last


async def test_a_pool_in_which_nobody_gets_ready_for_a_window_gives_up_with_4(
    fragile: Fragility,
) -> None:
    with fragile.ready_pool(*RESTLESS, "--restart-window", "3s", processes=1) as program:
        fragile.make("hang-*")
        os.kill(program.workers()[1], signal.SIGKILL)
        program.wait_for("no worker was ready for 3.0 s")
        fragile.mend("hang-*")  # one that hangs would be killed at the end of the drain only
        assert program.code() == 4
    assert "no worker was ready for 3.0 s; last: worker 1" in program.lines[-1]


# The nursery.


async def test_a_nursery_that_is_stopped_and_cannot_fork_is_replaced(fragile: Fragility) -> None:
    with fragile.ready_pool(*RESTLESS, "--boot-timeout", "3s") as program:
        before = program.workers()
        os.kill(program.nursery_pid, signal.SIGSTOP)
        os.kill(before[1], signal.SIGKILL)
        program.wait_for("the nursery of generation 1 does not fork; it is killed")
        program.wait_for("nursery ready: generation 2")
        full(program)
        assert program.workers()[2] == before[2]
        assert program.end() == 0


async def test_a_nursery_that_is_stopped_hides_no_death_and_goes_on_when_continued(
    fragile: Fragility,
) -> None:
    with fragile.ready_pool(*RESTLESS) as program:
        before = program.workers()
        nursery = program.nursery_pid
        os.kill(nursery, signal.SIGSTOP)
        os.kill(before[1], signal.SIGKILL)
        program.until(lambda: states(program)[1] == "starting", "the death was not seen")
        os.kill(nursery, signal.SIGCONT)
        full(program)
        assert "generation 2" not in program.log
        assert program.end() == 0


@pytest.mark.parametrize("moment", ["after-fork", *in_full("before-fork")])
async def test_a_nursery_killed_in_the_middle_of_a_fork_costs_no_slot_and_leaves_no_orphan(
    fragile: Fragility, moment: str
) -> None:
    with fragile.ready_pool(*RESTLESS) as program:
        before = program.workers()
        fragile.make(moment)
        os.kill(before[1], signal.SIGKILL)
        program.wait_for("the nursery ended: killed by SIGKILL; its workers go on")
        program.wait_for("nursery ready: generation 2")
        assert not fragile.has(moment)
        full(program)
        assert program.workers()[2] == before[2]
        async with docket_at(program.url) as docket:
            assert await (await docket.add("nap")(0.0)).get_result() in program.workers().values()
        assert program.end() == 0


async def test_a_nursery_and_all_of_its_workers_killed_at_once_are_replaced(
    fragile: Fragility,
) -> None:
    with fragile.ready_pool(*RESTLESS, "--max-deliveries", "1000") as program:
        async with docket_at(program.url) as docket:
            naps = [await docket.add("nap")(0.5) for _ in range(30)]
            for pid in (program.nursery_pid, *program.workers().values()):
                os.kill(pid, signal.SIGKILL)
            program.wait_for("nursery ready: generation 2")
            assert len([await each.get_result() for each in naps]) == 30
        full(program)
        assert program.end() == 0


async def test_a_nursery_killed_in_a_drain_does_not_keep_the_pool_from_ending(
    fragile: Fragility,
) -> None:
    with fragile.ready_pool() as program:
        async with docket_at(program.url) as docket:
            task = await docket.add("nap", key="in-time")(3.0)
            program.wait_for("↪ .*in-time")
            nursery, family = program.nursery_pid, program.family()
            program.send(signal.SIGTERM)
            program.wait_for("draining")
            os.kill(nursery, signal.SIGKILL)
            assert await task.get_result() > 0
            assert program.code() == 0
        assert psutil.wait_procs(family, timeout=10)[1] == []


# The supervisor.


@pytest.mark.parametrize("stopped", [False, True])
async def test_workers_whose_supervisor_was_killed_hand_back_and_end(
    server: str, docket_name: str, stopped: bool
) -> None:
    """Also where the nursery, which would see to it, is stopped."""
    arguments = (*STALLING, "--docket", docket_name, "--drain-timeout", "3s")
    with ready_pool(*arguments, url=server) as program:
        async with docket_at(server, docket_name) as docket:
            await docket.add("nap", key="long")(600.0)
            short = await docket.add("nap", key="short")(0.5)
            program.wait_for("↪ .*long")
            program.wait_for("↪ .*short")
            family = program.family()
            assert len(family) == 3  # a nursery and two workers
            nursery = program.nursery_pid
            if stopped:
                os.kill(nursery, signal.SIGSTOP)
            try:
                program.send(signal.SIGKILL)
                program.until(
                    lambda: all(runs_no_more(each) for each in family if each.pid != nursery),
                    "workers outlive their supervisor",
                )
            finally:
                kill_all([nursery], signal.SIGCONT)
            assert psutil.wait_procs(family, timeout=30)[1] == []
            async with asyncio.timeout(30):
                assert await short.get_result() > 0
    after = record(server, "long", docket_name)
    assert (after["state"], deaths_of(server, "long", docket_name)) == ("queued", 0)
