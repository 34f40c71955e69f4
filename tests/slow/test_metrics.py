"""What a scraper sees of the real program while workers die, are replaced and are given up."""

import os
import signal

import pytest

from ipc.messages import Backlog
from supervisor.monitoring.metrics import registry_of, render
from tests.support.exposition import Series, faults, labels_by_name, series
from tests.support.pool_tasks import add, nap, tasks
from tests.support.recording_process_control import Rig
from tests.support.supervised import Program, ready_pool

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

COUNTED = ("_total", "_bucket", "_count", "_sum")


def scraped(program: Program) -> str:
    code, text = program.get("/metrics")
    assert code == 200
    assert faults(text) == []
    return text


def counters(program: Program) -> Series:
    return {
        (name, labels): value
        for (name, labels), value in series(scraped(program)).items()
        if name.endswith(COUNTED)
    }


def sum_of(name: str, samples: Series) -> float:
    return sum(value for (found, _), value in samples.items() if found == name)


async def test_what_a_real_scrape_has_is_what_the_tests_of_the_dashboard_take_for_it() -> None:
    pretended = Rig(1).boot()
    pretended.beat(pretended.first)
    pretended.say(pretended.first, Backlog())
    of_pretended = render(registry_of(pretended.pool_state, lambda: pretended.now)).decode()
    with ready_pool(processes=1) as program:
        program.until(lambda: "_rss_bytes{" in program.get("/metrics")[1], "no heartbeat")
        program.until(lambda: "_backlog_tasks{" in program.get("/metrics")[1], "no backlog")
        real = labels_by_name(scraped(program))
        assert program.end() == 0
    assert real == labels_by_name(of_pretended)


async def test_no_counter_falls_while_workers_are_killed_replaced_and_given_up() -> None:
    with ready_pool(processes=3) as program:
        seen = [counters(program)]

        def look() -> bool:
            """Note what is counted now; nothing may have fallen or gone."""
            now = counters(program)
            before = seen[-1]
            assert before.keys() <= now.keys()
            assert {key: was for key, was in before.items() if now[key] < was} == {}
            seen.append(now)
            return True

        async with program.docket(tasks) as docket:
            for round_number, (number, ready) in enumerate(
                [(signal.SIGKILL, 3), (signal.SIGHUP, 3), (signal.SIGTTOU, 2), (signal.SIGTTIN, 3)]
            ):
                executions = [
                    await docket.add(nap, key=f"{round_number}-{n}")(0.1) for n in range(9)
                ]
                for execution in executions:
                    assert await execution.get_result() > 0
                done = 9 * (round_number + 1)
                program.until(
                    lambda done=done: (
                        look() and sum_of("docket_tasks_succeeded_total", seen[-1]) >= done
                    ),
                    "not counted",
                )
                before = set(program.workers().values())
                if number == signal.SIGKILL:
                    os.kill(program.workers()[1], signal.SIGKILL)
                else:
                    program.send(number)
                program.until(
                    lambda before=before, ready=ready: (
                        look()
                        and len(program.workers()) == ready
                        and set(program.workers().values()) != before
                        and program.status()["supervisor"]["state"] == "running"
                    ),
                    f"not settled after {number!r}",
                )
            assert await (await docket.add(add)(left=1, right=2)).get_result() == 3
        program.until(
            lambda: look() and sum_of("docket_tasks_succeeded_total", seen[-1]) == 37, "not all"
        )
        last = seen[-1]
        assert last["docket_supervisor_reloads_total", (("outcome", "succeeded"),)] == 1
        assert last["docket_supervisor_worker_restarts_total", (("reason", "crash"),)] == 1
        assert last["docket_supervisor_worker_replacements_total", (("reason", "reload"),)] == 3
        assert program.end() == 0
