"""How a real worker begins, and how it fails to."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from ipc.messages import Drain, Drained, Draining, Fault, Hello, Loaded, Ready, Settings
from tests.support.nursery import NurseryProcess, started
from tests.support.real_workers import (
    SOURCE,
    add,
    ended,
    real_pool,
    result,
    with_worker,
    write_tasks,
)


@pytest.fixture
def module(tmp_path: Path) -> Path:
    return write_tasks(tmp_path)


@pytest.fixture
def pool(module: Path, server: str, docket_name: str) -> Settings:
    return real_pool(module, server, docket_name)


@pytest.fixture
def nursery() -> Iterator[NurseryProcess]:
    with started("supervisor.nursery.program") as nursery:
        yield nursery


def test_a_task_that_is_not_registered_goes_to_the_fallback(
    nursery: NurseryProcess, pool: Settings
) -> None:
    nursery.load(with_worker(pool, fallback_task="worker_tasks:anything"))
    worker = nursery.spawn()
    worker.next(Ready)

    assert result(pool, add(pool, "unheard_of")) == "the fallback"
    worker.channel.send(Drain())
    assert ended(nursery) == 0


def test_without_preload_the_worker_imports_the_tasks(
    nursery: NurseryProcess, pool: Settings
) -> None:
    loaded = nursery.load(structs.replace(pool, preload=False))
    worker = nursery.spawn()
    worker.next(Ready)

    assert isinstance(loaded, Loaded)
    assert result(pool, add(pool, "double", 4)) == 8
    worker.channel.send(Drain())
    assert ended(nursery) == 0


def test_dependencies_are_resolved_by_the_worker_and_their_errors_are_its_fault(
    nursery: NurseryProcess, pool: Settings
) -> None:
    nursery.load(
        structs.replace(with_worker(pool, dependencies="worker_tasks:none"), preload=False)
    )
    worker = nursery.spawn()

    assert "has no attribute 'none'" in worker.next(Fault).reason
    assert ended(nursery) == 1


def test_a_worker_that_breaks_while_it_runs_reports_the_error(
    nursery: NurseryProcess, pool: Settings, module: Path
) -> None:
    module.write_text(
        SOURCE + "from docket import Worker\n"
        "async def broken(self, supervision, **options):\n"
        "    raise RuntimeError('a bug of ours')\n"
        "Worker.run_supervised = broken\n"
    )
    nursery.load(pool)
    worker = nursery.spawn()

    fault = worker.next(Fault)

    assert fault.reason == "RuntimeError: a bug of ours"
    assert not fault.cannot_load
    assert "in broken" in fault.traceback
    assert ended(nursery) == 1


def test_an_import_that_fails_in_the_worker_is_its_fault(
    nursery: NurseryProcess, pool: Settings, module: Path
) -> None:
    module.write_text("import nothing_there\n")
    nursery.load(structs.replace(pool, preload=False))
    worker = nursery.spawn()

    fault = worker.next(Fault)

    assert fault.reason.endswith("ModuleNotFoundError: No module named 'nothing_there'")
    assert str(module) in fault.traceback
    assert fault.cannot_load
    assert ended(nursery) == 1


def test_tasks_that_are_no_functions_are_the_workers_fault(
    nursery: NurseryProcess, pool: Settings, module: Path
) -> None:
    module.write_text("tasks = 7\n")
    nursery.load(pool)
    worker = nursery.spawn()

    assert worker.next(Hello).pid == worker.pid
    fault = worker.next(Fault)
    assert "'worker_tasks:tasks' is a int, not iterable" in fault.reason
    assert fault.cannot_load
    assert ended(nursery) == 1


def test_a_worker_without_its_server_waits_and_leaves_when_drained(
    nursery: NurseryProcess, pool: Settings
) -> None:
    nursery.load(with_worker(pool, url="redis://127.0.0.1:1/0"))
    worker = nursery.spawn()
    worker.next(Hello)

    worker.channel.send(Drain())

    worker.next(Draining)
    worker.next(Drained)
    assert ended(nursery) == 0
