"""The process of a worker, as it tells of itself with its heartbeats (pure).

It is told as JSON of at most MOST_BYTES, so that people can read it on the server. Anybody who may
write there can write anything: what is none of ours is as good as nothing.
"""

from datetime import datetime
from typing import Annotated

import msgspec

from docket.clock import LATEST_MICROSECOND, from_microseconds, to_microseconds

#: The longest report that is written, and that is read.
MOST_BYTES = 1024

_Name = Annotated[str, msgspec.Meta(max_length=255)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
_Bytes = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
#: The longest lag, in seconds: a year.
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=31_536_000)]


class WorkerProcess(msgspec.Struct, frozen=True, kw_only=True):
    """The process of a worker, as it was some seconds ago.

    Attributes:
        host: the name of its host.
        pid: its process id there.
        started_at: the time since which the worker works, by the server's clock.
        lag_seconds: the longest delay of its event loop since it last told.
        concurrency: the number of tasks that it can run at once.
        rss_bytes: its resident memory; None where the system does not tell.
        version: of docket-supervisor; None if it runs from a source tree.
        supervisor_pid: the process id of its supervisor; None without one.
        generation: the generation of the code that the supervisor has loaded; None without one.
    """

    host: str
    pid: int
    started_at: datetime
    lag_seconds: float
    concurrency: int
    rss_bytes: int | None = None
    version: str | None = None
    supervisor_pid: int | None = None
    generation: int | None = None

    def written(self) -> bytes:
        """Write it as it is told; b"" if it is too long, as no sound one is."""
        packed = msgspec.json.encode(
            _Told(
                host=self.host[:_LONGEST_NAME],
                pid=self.pid,
                started_at=to_microseconds(self.started_at),
                lag=round(self.lag_seconds, 4),
                concurrency=self.concurrency,
                rss=self.rss_bytes,
                version=self.version,
                supervisor=self.supervisor_pid,
                generation=self.generation,
            )
        )
        return packed if len(packed) <= MOST_BYTES else b""


#: Characters of a host's name that are told: systems have at most 64, DNS has 253.
_LONGEST_NAME = 128


class _Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    host: _Name
    pid: _Count
    started_at: Annotated[int, msgspec.Meta(ge=0, le=LATEST_MICROSECOND)]
    lag: _Seconds
    concurrency: _Count
    rss: _Bytes | None = None
    version: _Name | None = None
    supervisor: _Count | None = None
    generation: _Count | None = None


_told = msgspec.json.Decoder(_Told)


def read(packed: bytes) -> WorkerProcess | None:
    """Read what a worker told; None if it is none of ours."""
    if len(packed) > MOST_BYTES:
        return None
    try:
        told = _told.decode(packed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return WorkerProcess(
        host=told.host,
        pid=told.pid,
        started_at=from_microseconds(told.started_at),
        lag_seconds=told.lag,
        concurrency=told.concurrency,
        rss_bytes=told.rss,
        version=told.version,
        supervisor_pid=told.supervisor,
        generation=told.generation,
    )


__all__ = ["MOST_BYTES", "WorkerProcess", "read"]
