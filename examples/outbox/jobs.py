"""The tasks of the pool, and the relay, which is one of them."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from docket import CurrentDocket, Docket, Perpetual, Shared
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from outbox import relay

Sessions = async_sessionmaker[AsyncSession]


@asynccontextmanager
async def database() -> AsyncGenerator[Sessions]:
    engine = create_async_engine(os.environ.get("DATABASE_URL", "sqlite+aiosqlite:///shop.sqlite3"))
    yield async_sessionmaker(engine)
    await engine.dispose()


async def send_receipt(order: int) -> str:
    return f"receipt of order {order}"


async def relay_outbox(
    sessions: Sessions = Shared(database),
    docket: Docket = CurrentDocket(),
    perpetual: Perpetual = Perpetual(every=timedelta(seconds=1), automatic=True),
) -> None:
    if await relay(sessions, docket):
        perpetual.after(timedelta(0))  # there may be more


tasks = [send_receipt, relay_outbox]
