"""A transactional outbox: a task is added if, and only if, a transaction commits."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from docket import Disposition, Docket
from sqlalchemy import JSON, DateTime, delete, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class OutboxRow(Base):
    """A call that is not on the docket yet."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    function: Mapped[str]
    arguments: Mapped[dict[str, Any]] = mapped_column(JSON)
    due: Mapped[datetime] = mapped_column(DateTime(timezone=True))


def add_later(
    session: AsyncSession,
    function: str,
    key: str | None = None,
    when: datetime | None = None,
    **arguments: Any,
) -> str:
    """Write a call into the transaction of the session, and return its key."""
    key = key or str(uuid4())
    due = when or datetime.now(UTC)
    session.add(OutboxRow(key=key, function=function, arguments=arguments, due=due))
    return key


async def relay(sessions: async_sessionmaker[AsyncSession], docket: Docket) -> int:
    """Add the calls of committed transactions to the docket, and return how many there were.

    If it dies between the two, the next relay finds the rows again and adds the same keys, which
    changes nothing while their tasks wait or run.
    """
    async with sessions.begin() as session:
        oldest = select(OutboxRow).order_by(OutboxRow.id).limit(500)
        # Relays of several hosts take different rows, where the database can lock rows.
        rows = list(await session.scalars(oldest.with_for_update(skip_locked=True)))
        executions = await docket.add_many(
            docket.call(row.function, _aware(row.due), row.key)(**row.arguments) for row in rows
        )
        added = [
            row.id
            for row, execution in zip(rows, executions, strict=True)
            if execution.disposition is not Disposition.FAILED
        ]
        await session.execute(delete(OutboxRow).where(OutboxRow.id.in_(added)))
    return len(added)


def _aware(instant: datetime) -> datetime:
    # SQLite gives datetimes back without their time zone.
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
