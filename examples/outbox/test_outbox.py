from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from docket import Docket, ExecutionState, Worker, testing
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from jobs import relay_outbox, send_receipt
from outbox import Base, OutboxRow, add_later, relay

pytestmark = pytest.mark.anyio

Sessions = async_sessionmaker[AsyncSession]


@pytest.fixture
async def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Sessions]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'shop.sqlite3'}"
    monkeypatch.setenv("DATABASE_URL", url)
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield async_sessionmaker(engine)
    await engine.dispose()


@pytest.fixture(autouse=True)
def registered(docket: Docket) -> None:
    docket.register(send_receipt)


async def rows_in(sessions: Sessions) -> int:
    async with sessions() as session:
        return await session.scalar(select(func.count()).select_from(OutboxRow)) or 0


async def test_a_committed_call_is_added_by_its_key(docket: Docket, sessions: Sessions) -> None:
    async with sessions.begin() as session:
        add_later(session, "send_receipt", key="receipt-7", order=7)

    assert await relay(sessions, docket) == 1

    await testing.assert_task_scheduled(docket, send_receipt, key="receipt-7", kwargs={"order": 7})
    assert await rows_in(sessions) == 0
    assert await relay(sessions, docket) == 0


async def test_a_call_that_was_rolled_back_is_never_added(
    docket: Docket, sessions: Sessions
) -> None:
    async with sessions() as session:
        add_later(session, "send_receipt", order=7)
        await session.flush()
        await session.rollback()

    assert await relay(sessions, docket) == 0
    await testing.assert_no_tasks(docket)


async def test_a_relay_that_died_before_its_commit_adds_nothing_twice(
    docket: Docket, sessions: Sessions
) -> None:
    async with sessions.begin() as session:
        add_later(session, "send_receipt", key="receipt-7", order=7)
    await docket.add(send_receipt, key="receipt-7")(order=7)  # all that it had done

    assert await relay(sessions, docket) == 1

    await testing.assert_task_count(docket, send_receipt, count=1)
    assert await rows_in(sessions) == 0


async def test_rows_stay_while_the_docket_does_not_know_their_task(
    docket: Docket, sessions: Sessions
) -> None:
    async with sessions.begin() as session:
        add_later(session, "unknown", order=7)

    with pytest.raises(KeyError):
        await relay(sessions, docket)

    assert await rows_in(sessions) == 1


async def test_a_call_keeps_its_time(docket: Docket, sessions: Sessions) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    async with sessions.begin() as session:
        add_later(session, "send_receipt", key="receipt-7", when=tomorrow, order=7)

    await relay(sessions, docket)

    execution = await docket.get_execution("receipt-7")
    assert execution is not None
    assert (execution.state, execution.when) == (ExecutionState.SCHEDULED, tomorrow)


async def test_the_relay_runs_in_the_pool(
    docket: Docket, worker: Worker, sessions: Sessions
) -> None:
    async with sessions.begin() as session:
        add_later(session, "send_receipt", key="receipt-7", order=7)
    await docket.add(relay_outbox, key="relay_outbox")()

    await worker.run_at_most({"relay_outbox": 2})

    execution = await docket.get_execution("receipt-7")
    assert execution is not None
    assert await execution.get_result() == "receipt of order 7"
