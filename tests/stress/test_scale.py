"""Scale: the arithmetic, the simulation that it agrees with, and the page that shows both."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from stress.scale.arithmetic import Workload, most_of_a_docket, size_of
from stress.scale.cli import scale
from stress.scale.costs import MEASURED, Costs, NoCosts, read_costs
from stress.scale.simulation import busiest_share, drained, simulate
from tests.support.documents import ROOT, blocks

COSTS = Costs(
    add_one_us=40,
    add_us=10,
    run_10_us=19,
    run_100_us=10,
    worker_us=20,
    idle_us=500,
    waiting_bytes=300,
    ended_bytes=400,
    failed_bytes=1_500,
    messages=3,
    producer_connections=2,
    worker_connections=4,
)
LOAD = Workload(rate=1_000)


# -- costs


def test_the_cost_of_a_call_is_told_from_that_of_its_tasks() -> None:
    assert COSTS.call_us == pytest.approx(100)
    assert COSTS.task_us == pytest.approx(9)
    assert COSTS.run_us(10) == pytest.approx(19)
    assert COSTS.run_us(100) == pytest.approx(10)
    assert COSTS.add_cost_us(1) == 40
    assert COSTS.add_cost_us(1_000) == pytest.approx(10.03)


def test_no_cost_is_below_nothing_where_larger_calls_were_measured_dearer() -> None:
    odd = replace(COSTS, run_10_us=5, run_100_us=10, add_one_us=5)
    assert odd.call_us == 0
    assert odd.run_us(1) == 10
    assert odd.add_cost_us(1) == 10


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"scenarios": [{"figures": []}]}'])
def test_a_file_without_costs_says_how_to_make_one(tmp_path: Path, content: str) -> None:
    path = tmp_path / "costs.json"
    path.write_text(content, "utf-8")
    with pytest.raises(NoCosts, match=r"stress\.bench cost --json"):
        read_costs(path)
    result = CliRunner().invoke(scale, ["--costs", str(path)])
    assert result.exit_code == 1
    assert "stress.bench cost --json" in result.output


# -- arithmetic


def test_a_rate_needs_places_for_its_tasks_and_a_core_for_each_worker() -> None:
    # 600 tasks run at once, 100 a worker, 60% of the places planned.
    assert size_of(COSTS, replace(LOAD, rate=6_000)).processes == 10
    # A task that computes for a millisecond takes a core of its own at 600 a second.
    computing = replace(LOAD, rate=6_000, seconds=0.001, cpu_us=980)
    assert size_of(COSTS, computing).processes == 10


def test_cpu_asks_for_more_dockets() -> None:
    # Added by ones, 40 us; two calls of 100 us and 9 us for a run; 17 workers.
    size = size_of(COSTS, replace(LOAD, rate=10_000, kept_seconds=0))
    assert (size.dockets, size.needed_by) == (5, "CPU")
    assert size.busy == pytest.approx((10_000 * 249 + 17 * 500) / 5e6)
    assert size_of(COSTS, replace(LOAD, rate=10_000, kept_seconds=0, adds=1_000)).dockets == 4


def test_memory_asks_for_more_dockets_where_records_are_kept_for_long() -> None:
    kept = replace(LOAD, rate=100, kept_seconds=24 * 3600, server_bytes=1e9)
    size = size_of(COSTS, kept)
    assert size.memory == pytest.approx(100 * 86_400 * 400 + 100 * 0.1 * 300 + 15e6)
    assert (size.dockets, size.needed_by) == (7, "memory")


def test_connections_are_those_of_the_workers_of_one_server_and_of_all_producers() -> None:
    size = size_of(COSTS, replace(LOAD, rate=10_000, kept_seconds=0))
    assert (size.processes, size.dockets) == (17, 5)
    assert size.connections == 4 * 4 + 10 * 2
    assert size.messages == 30_000


# -- simulation


def test_the_simulation_is_the_same_with_the_same_seed_only() -> None:
    first, again = (simulate(COSTS, LOAD, 2, 0.5, 1) for _ in range(2))
    assert first == again
    assert simulate(COSTS, LOAD, 2, 0.5, 2) != first


def test_what_is_added_is_started_and_the_server_is_as_busy_as_the_arithmetic_says() -> None:
    found = simulate(COSTS, LOAD, 4, 4.0, 1)
    assert found.rate == pytest.approx(1_000, rel=0.1)
    assert found.busy <= size_of(COSTS, LOAD).busy * 1.1
    assert found.busy >= 1_000 * (COSTS.add_one_us + COSTS.task_us) * 1e-6 * 0.9


def test_a_drain_grows_with_the_workers_until_the_server_is_full() -> None:
    slow = replace(COSTS, worker_us=100)
    load = replace(LOAD, seconds=0.0)
    rates = [drained(slow, load, count, 0.5, 1).rate for count in (1, 2, 4, 16, 32)]
    assert rates[1] == pytest.approx(2 * rates[0], rel=0.1)
    assert rates[2] == pytest.approx(4 * rates[0], rel=0.1)
    most = 1e6 / COSTS.run_us(LOAD.concurrency)
    assert rates[4] < most * 1.1
    assert drained(slow, load, 32, 0.5, 1).busy > 0.95


def test_waits_grow_with_the_load_of_the_server() -> None:
    most = most_of_a_docket(COSTS, LOAD)
    waits = [
        simulate(COSTS, replace(LOAD, rate=most * share), 20, 1.0, 1).wait(99)
        for share in (0.3, 2.5, 6.0)
    ]
    assert waits[0] < waits[1] < waits[2]


def test_several_dockets_carry_less_the_more_unequal_the_owners_are() -> None:
    equal = 1 / busiest_share(8, 100_000, 0.0, 1)
    few = 1 / busiest_share(8, 100, 0.0, 1)
    unequal = 1 / busiest_share(8, 100, 1.0, 1)
    assert 7.5 < equal <= 8
    assert unequal < few < equal
    assert busiest_share(1, 10, 1.0, 1) == 1


# -- the command and its page


def test_the_command_prints_every_curve_and_its_record() -> None:
    result = CliRunner().invoke(scale, ["--json", "--seed", "3"], catch_exceptions=False)
    record = json.loads(result.output)
    assert record["seed"] == 3
    assert record["costs"] == asdict(read_costs(MEASURED))
    titles = [curve["title"].partition(":")[0] for curve in record["curves"]]
    assert titles == ["sizes", "drain", "waits", "dockets"]
    assert all(
        len(row) == len(curve["columns"]) for curve in record["curves"] for row in curve["rows"]
    )


def test_the_tables_of_the_page_are_those_that_the_command_prints() -> None:
    result = CliRunner().invoke(scale, [], catch_exceptions=False)
    printed = {line.rstrip() for line in result.output.splitlines()}
    tables = [block for block in blocks(ROOT / "docs/scale.md", "text") if "━" in block.text]
    assert len(tables) == 4
    assert [line for each in tables for line in each.text.splitlines() if line not in printed] == []
