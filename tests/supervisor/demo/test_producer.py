import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from docket import Docket, Execution, ExecutionState, Worker
from supervisor.demo.audit import FileAccount, FileOutcome
from supervisor.demo.producer import Producer, account_of, counted
from supervisor.demo.source_files import Source, find
from supervisor.demo.tasks import Counts, parse_file

pytestmark = pytest.mark.anyio


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Source, ...]:
    for number in range(9):
        (tmp_path / f"m{number}.py").write_text("import os\n")
    (tmp_path / "old.py").write_text("print 'no'\n")
    return find(tmp_path).sources


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


async def test_every_file_is_fed_and_accounted_for_by_its_record(
    sources: tuple[Source, ...], server: str, docket_name: str
) -> None:
    told: list[int] = []
    async with open_docket(docket_name, server) as docket:
        feed = Producer(docket, sources, 3, lambda finished, _: told.append(finished))
        await feed.run(None, told.extend)
        accounts = {account.key: account for account in await feed.audit()}
    assert told == list(range(1, 11))
    assert feed.seconds > 0
    assert accounts.keys() == {source.key for source in sources}
    bad = accounts.pop("old.py")
    assert bad.outcome is FileOutcome.FAILED
    assert bad.error is not None
    assert bad.error.startswith("SyntaxError: Missing parentheses")
    assert {(each.outcome, each.counts) for each in accounts.values()} == {
        (FileOutcome.PARSED, Counts(lines=1, imports=1))
    }
    assert all(each.waited_seconds is not None for each in accounts.values())
    assert {each.generation for each in accounts.values()} == {1}


async def test_a_record_that_is_over_its_time_counts_as_what_it_said_at_its_end(
    sources: tuple[Source, ...],
    server: str,
    docket_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def gone(_key: str) -> None:
        return None

    async with open_docket(docket_name, server) as docket:
        feed = Producer(docket, sources, 3, lambda *_: None)
        await feed.run(None, lambda _: None)
        before = await feed.audit()
        monkeypatch.setattr(docket, "get_execution", gone)
        assert await feed.audit() == []
        docket.execution_ttl = timedelta(0)
        assert await feed.audit() == before


@pytest.mark.parametrize(
    ("state", "error"), [(None, "no record"), (ExecutionState.QUEUED, "still queued")]
)
def test_what_has_not_ended_is_unfinished(state: ExecutionState | None, error: str) -> None:
    docket = Docket("d", "memory://")
    execution: Any = Execution(docket, parse_file, (), {}, "k", datetime.now(UTC), 1)
    execution.state, execution.generation = state, 1
    assert account_of(execution, Counts()) == FileAccount("k", FileOutcome.UNFINISHED, error=error)


def test_one_is_not_many() -> None:
    assert counted(1, "file") == "1 file"
    assert counted(0, "file") == "0 files"
    assert counted(1234, "file") == "1,234 files"
