import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from docket import Docket, Execution, ExecutionState, Worker
from supervisor.demo.audit import FileResult, result_of
from supervisor.demo.pool_view import Kill, PoolView
from supervisor.demo.producer import Producer
from supervisor.demo.source_files import SourceFile, find
from supervisor.demo.tasks import Counts, parse_file

pytestmark = pytest.mark.anyio


@pytest.fixture
def sources(tmp_path: Path) -> tuple[SourceFile, ...]:
    for number in range(9):
        (tmp_path / f"m{number}.py").write_text("import os\n")
    (tmp_path / "old.py").write_text("print 'no'\n")
    return find(tmp_path).files


@asynccontextmanager
async def open_docket(name: str, url: str) -> AsyncIterator[Docket]:
    """A docket with a worker that runs for as long as it is open."""
    async with Docket(name, url) as docket:
        docket.register(parse_file)
        async with Worker(docket, concurrency=2) as worker:
            running = asyncio.create_task(worker.run_forever())
            yield docket
            worker.drain()
            await running


async def test_every_file_is_parsed_and_its_result_read_from_its_record(
    sources: tuple[SourceFile, ...], server: str, docket_name: str
) -> None:
    progress: list[int] = []
    async with open_docket(docket_name, server) as docket:
        producer = Producer(docket, sources, 3, lambda finished, _: progress.append(finished))
        assert await producer.run() > 0
        results = {each.key: each for each in await producer.results()}
    assert progress == list(range(1, 11))
    assert results.keys() == {source.key for source in sources}
    bad = results.pop("old.py")
    assert bad.state is ExecutionState.FAILED
    assert bad.error is not None
    assert bad.error.startswith("SyntaxError: Missing parentheses")
    assert {(each.state, each.counts) for each in results.values()} == {
        (ExecutionState.COMPLETED, Counts(lines=1, imports=1))
    }
    assert all(each.waited_seconds is not None for each in results.values())
    assert {each.generation for each in results.values()} == {1}


class FakePool(PoolView):
    """A pool of which a worker is killed at the attempt of this number."""

    def __init__(self, kill_at: int, ended: list[int]) -> None:
        super().__init__(lambda _: None)
        self._kill_at = kill_at
        self._ended = ended
        #: Files that had ended at each attempt.
        self.attempts: list[int] = []

    def kill_busiest(self, executions: Iterable[Execution]) -> None:
        self.attempts.append(self._ended[-1])
        if len(self.attempts) == self._kill_at:
            self.kill = Kill(1, 101, 1, 10.0)


@pytest.mark.parametrize("kill_at", [1, 2])
async def test_a_worker_is_killed_once_as_soon_as_half_of_the_files_have_ended(
    kill_at: int,
    sources: tuple[SourceFile, ...],
    server: str,
    docket_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def at_once(_key: str) -> None:
        return None

    ended: list[int] = []
    pool = FakePool(kill_at, ended)
    async with open_docket(docket_name, server) as docket:
        monkeypatch.setattr(docket, "get_execution", at_once)
        await Producer(docket, sources, 3, lambda finished, _: ended.append(finished), pool).run()
    assert ended[-1] == 10
    assert len(pool.attempts) == kill_at
    assert min(pool.attempts) >= 5


async def test_of_an_expired_record_the_state_at_its_end_counts(
    sources: tuple[SourceFile, ...],
    server: str,
    docket_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def gone(_key: str) -> None:
        return None

    async with open_docket(docket_name, server) as docket:
        producer = Producer(docket, sources, 3, lambda *_: None)
        await producer.run()
        before = await producer.results()
        monkeypatch.setattr(docket, "get_execution", gone)
        assert await producer.results() == []
        docket.execution_ttl = timedelta(0)
        assert await producer.results() == before


def test_the_result_of_a_file_that_has_not_started_has_no_wait() -> None:
    docket = Docket("d", "memory://")
    execution: Any = Execution(docket, parse_file, (), {}, "k", datetime.now(UTC), 1)
    execution.state, execution.generation = ExecutionState.QUEUED, 1
    assert result_of(execution, Counts()) == FileResult("k", ExecutionState.QUEUED)


async def test_the_files_that_a_death_interrupted_are_counted_by_their_records(
    sources: tuple[SourceFile, ...], server: str, docket_name: str
) -> None:
    ended: list[int] = []
    async with open_docket(docket_name, server) as docket:
        pool = FakePool(1, ended)
        producer = Producer(docket, sources, 3, lambda finished, _: ended.append(finished), pool)
        await producer.run()
        assert await producer.interrupted() == 0
        client = docket.connections.client()
        for source in sources:
            await client.hset(docket.runs_key(source.key), "deaths", 1)
        # Those that were outstanding at the kill, of which there are never more than three.
        assert 1 <= await producer.interrupted() <= 3
