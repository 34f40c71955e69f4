"""What tests of deaths and stalls look at: processes from outside, records in the store."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import redis

from docket import Docket
from docket.store.keys import Keys
from tests.support.dockets import knowing
from tests.support.stalling_tasks import tasks
from tests.support.supervised import Program, ready_pool, supervised

STALLING = ("--tasks", "tests.support.stalling_tasks:tasks")
FRAGILE = ("--tasks", "tests.support.fragile_tasks:tasks")


def docket_at(url: str, name: str = "d") -> Docket:
    """A producer of the stalling tasks, whose first ones the fragile module has too."""
    return knowing(Docket(name=name, url=url), tasks)


def record(url: str, key: str, name: str = "d") -> dict[str, str]:
    """The record of a task as it is in the store."""
    with redis.Redis.from_url(url) as client:
        stored: dict[bytes, bytes] = client.hgetall(Keys(name).record(key))  # type: ignore[assignment]
    return {k.decode(): v.decode(errors="replace") for k, v in stored.items()}


def deaths_of(url: str, key: str, name: str = "d") -> int:
    """Worker processes that died under a task, as they count."""
    return int(record(url, key, name).get("deaths", 0))


def runs_no_more(process: psutil.Process) -> bool:
    """Whether it has ended, reaped or not."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def no_zombie_in(program: Program) -> bool:
    """Whether every process that was started and has ended was reaped too."""

    def is_zombie(process: psutil.Process) -> bool:
        try:
            return process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return not any(map(is_zombie, program.family()))


class Fragility:
    """A pool of fragile tasks, and the files that break it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, *names: str) -> None:
        for name in names:
            (self.folder / name).touch()

    def mend(self, *names: str) -> None:
        for name in names:
            (self.folder / name).unlink()

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def pool(self, *arguments: str, **rest: object) -> Program:
        environment = {"FRAGILE_FOLDER": str(self.folder)}
        return supervised(*FRAGILE, *arguments, environment=environment, **rest)  # type: ignore[arg-type]

    @contextmanager
    def ready_pool(self, *arguments: str, **rest: object) -> Iterator[Program]:
        environment = {"FRAGILE_FOLDER": str(self.folder)}
        with ready_pool(*FRAGILE, *arguments, environment=environment, **rest) as program:
            yield program


def kill_all(pids: list[int], number: int) -> None:
    """Signal each, those that have ended aside."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
