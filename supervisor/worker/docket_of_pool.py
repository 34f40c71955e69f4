"""The docket that the processes of a pool open, as the settings of the pool say."""

from datetime import timedelta
from typing import Literal, cast

from docket.docket import Docket
from docket.options import DocketOptions
from ipc.messages import WorkerSettings
from supervisor.child import task_modules
from supervisor.child.task_modules import CannotLoad


def docket_of(settings: WorkerSettings) -> Docket:
    """Make the docket of a pool, not opened.

    Raises:
        CannotLoad: the factory cannot be imported, or ended the program.
        Exception: any error of Docket or of the factory.
    """
    options = DocketOptions(
        name=settings.docket,
        url=settings.url,
        serializer=cast("Literal['pickle', 'msgpack'] | None", settings.serializer),
        execution_ttl=_duration(settings.execution_ttl_seconds),
        keep_failed=_duration(settings.keep_failed_seconds),
        keep_failed_most=settings.keep_failed_most,
        heartbeat_interval=_duration(settings.heartbeat_interval_seconds),
        missed_heartbeats=settings.missed_heartbeats,
        factory=settings.docket_factory,
    )
    try:
        return options.make(task_modules.resolve)
    except SystemExit as error:
        reason = f"{settings.docket_factory!r} ended the program: {task_modules.describe(error)}"
        raise CannotLoad(reason, task_modules.details(error)) from error


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
