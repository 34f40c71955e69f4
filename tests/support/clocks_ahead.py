"""The tasks of hosts, in processes whose wall clock is HOURS_AHEAD wrong."""

import os
import time
from datetime import datetime, timedelta, tzinfo
from typing import Self

from docket import clock
from tests.support.host_tasks import tasks

__all__ = ["tasks"]

AHEAD = timedelta(hours=float(os.environ["HOURS_AHEAD"]))
_right = time.time


class WrongDatetime(datetime):
    """What `docket.clock` has for datetime here."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + AHEAD


def _wrong_time() -> float:
    return _right() + AHEAD.total_seconds()


time.time = _wrong_time
clock.datetime = WrongDatetime
