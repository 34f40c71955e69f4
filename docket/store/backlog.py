"""The backlog of a docket, by one call of a script that only reads."""

from datetime import timedelta

from docket.backlog import Backlog
from docket.clock import delay_milliseconds
from docket.store import scripts
from docket.store.connection.pipeline import Pipeline
from docket.store.keys import Keys


async def backlog(
    pipeline: Pipeline, keys: Keys, worker_patience: timedelta, patience_seconds: float
) -> Backlog:
    """Read the backlog of a docket.

    Args:
        pipeline: the connection.
        keys: those of the docket.
        worker_patience: the time without a heartbeat after which a worker counts as dead.
        patience_seconds: the longest wait for an absent server.

    Raises:
        ServerUnavailable: the server is away for longer than `patience_seconds`.
    """
    reply: list[int] = await pipeline.call(
        scripts.BACKLOG,
        [*keys.places, keys.workers],
        [keys.prefix, delay_milliseconds(worker_patience)],
        patience_seconds=patience_seconds,
    )
    queued, running, oldest, scheduled, waiting, paused, late, pauses, failed, workers, held = reply
    return Backlog(
        scheduled=scheduled,
        queued=queued,
        running=running,
        waiting=waiting,
        paused=paused,
        oldest_ready_seconds=_seconds(oldest),
        lateness_seconds=_seconds(late),
        pauses=pauses,
        failed_kept=failed,
        workers=workers,
        docket_paused=bool(held),
    )


def _seconds(milliseconds: int) -> float | None:
    return None if milliseconds < 0 else milliseconds / 1000
