"""The supervisor's side of a nursery, for tests: starts one by exec and talks to its workers."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ipc.blocking import BlockingChannel
from ipc.framing import Decoder
from ipc.messages import (
    PROTOCOL,
    Adopt,
    Drain,
    FromKeeper,
    FromNursery,
    FromWorker,
    Hello,
    KeeperBeat,
    Loaded,
    Message,
    Settings,
    Spawn,
    Spawned,
    Waiting,
    WorkerSettings,
)

ROOT = Path(__file__).parent.parent.parent
#: Seconds until an answer that does not come fails the test.
PATIENCE = 20.0

T = TypeVar("T")


def settings(cwd: Path | str, **changes: Any) -> Settings:
    """Settings of a nursery; those of WorkerSettings may be given too."""
    worker = {
        name: changes.pop(name)
        for name in list(changes)
        if name in WorkerSettings.__struct_fields__
    }
    worker = {"docket": "d", "url": "redis://nowhere", "display_url": "redis://nowhere", **worker}
    filled: dict[str, Any] = {
        "protocol": PROTOCOL,
        "generation": 1,
        "tasks": [],
        "preload": True,
        "cwd": str(cwd),
        "worker": WorkerSettings(**worker),
        **changes,
    }
    return Settings(**filled)


def awaited(
    channel: BlockingChannel[Any], wanted: type[T], backlog: list[Any]
) -> tuple[T, list[int]]:
    """The next message of this type with its descriptors; those before it are dropped."""
    deadline = time.monotonic() + PATIENCE
    while True:
        while backlog:
            message, fds = backlog.pop(0)
            if isinstance(message, wanted):
                return message, fds
        arrivals = channel.receive(max(0.0, deadline - time.monotonic()))
        assert arrivals is not None, f"the channel ended before a {wanted.__name__}"
        assert arrivals or time.monotonic() < deadline, f"no {wanted.__name__} came"
        backlog += arrivals


@dataclass
class Child:
    """A worker as its supervisor sees it."""

    slot: int
    pid: int
    pidfd: int
    channel: BlockingChannel[FromWorker]
    keeper: int
    dump: int
    backlog: list[Any] = field(default_factory=list[Any])

    def next(self, wanted: type[T]) -> T:
        return awaited(self.channel, wanted, self.backlog)[0]

    def facts(self) -> dict[str, Any]:
        return json.loads(self.next(Waiting).reason)

    def tell(self, verb: str) -> str:
        """Have a puppet do something; its answer."""
        self.channel.send(Adopt(verb, "nobody"))
        return self.next(Waiting).reason

    def leave(self, status: int = 0) -> None:
        self.channel.send(Drain(status))

    def at_end(self) -> bool:
        """Whether the channel ends now, with whatever came before it."""
        while (arrivals := self.channel.receive(PATIENCE)) is not None:
            if not arrivals:
                return False
        return True

    def beats(self) -> Iterator[KeeperBeat]:
        decoder: Decoder[KeeperBeat] = Decoder(FromKeeper)
        while data := os.read(self.keeper, 4096):
            yield from decoder.feed(data)

    def close(self) -> None:
        self.channel.close()
        os.close(self.keeper)
        os.close(self.dump)
        if self.pidfd >= 0:
            os.close(self.pidfd)


class NurseryProcess:
    """A nursery started as the supervisor starts it; `module` is what -m runs."""

    def __init__(
        self, module: str, environment: dict[str, str] | None = None, lifeline: int | None = None
    ) -> None:
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(theirs.fileno())],
            pass_fds=[theirs.fileno()] if lifeline is None else [theirs.fileno(), lifeline],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        )
        theirs.close()
        self.channel: BlockingChannel[FromNursery] = BlockingChannel(ours, FromNursery)
        self.backlog: list[Any] = []
        self.children: list[Child] = []

    def send(self, message: Message, fds: list[int] | None = None) -> None:
        self.channel.send(message, fds or [])

    def next(self, wanted: type[T]) -> T:
        return awaited(self.channel, wanted, self.backlog)[0]

    def load(self, settings: Settings) -> Loaded:
        self.send(settings)
        self.next(Hello)
        return self.next(Loaded)

    def ask(self, slot: int) -> Child:
        """Send a Spawn; `born` fills in what the nursery answers."""
        ours, theirs = socket.socketpair()
        keeper, keeper_write = os.pipe()
        dump, dump_write = os.pipe()
        self.send(Spawn(slot, f"host#{slot}"), [theirs.detach(), keeper_write, dump_write])
        child = Child(slot, -1, -1, BlockingChannel(ours, FromWorker), keeper, dump)
        self.children.append(child)
        return child

    def born(self, child: Child) -> Child:
        spawned, [child.pidfd] = awaited(self.channel, Spawned, self.backlog)
        assert spawned.slot == child.slot
        child.pid = spawned.pid
        return child

    def spawn(self, slot: int = 1) -> Child:
        return self.born(self.ask(slot))

    def die(self) -> None:
        """As when the supervisor is killed: every end that it holds is closed."""
        self.channel.close()
        for child in self.children:
            child.close()
        self.children.clear()

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def stop(self) -> None:
        """Leave nothing of it behind, however the test ended."""
        pidfds = [os.dup(child.pidfd) for child in self.children if child.pidfd >= 0]
        self.die()
        for pidfd in pidfds:
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            except ProcessLookupError:
                continue
            finally:
                os.close(pidfd)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def started(
    module: str, environment: dict[str, str] | None = None, lifeline: int | None = None
) -> Iterator[NurseryProcess]:
    nursery = NurseryProcess(module, environment, lifeline)
    try:
        yield nursery
    finally:
        nursery.stop()


def puppets(
    environment: dict[str, str] | None = None, lifeline: int | None = None
) -> AbstractContextManager[NurseryProcess]:
    """A nursery of tests.support.nursery_child."""
    return started("tests.support.nursery_child", environment, lifeline)


def is_running(pid: int) -> bool:
    """Whether the process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for_end(pid: int) -> None:
    """Until a process that may be anybody's child has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    ended = poller.poll(PATIENCE * 1000)
    os.close(pidfd)
    assert ended, f"process {pid} still runs"
