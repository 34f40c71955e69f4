"""The edge: carries out what the pool decides, and turns what happens into events of its inbox."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from ipc.messages import (
    PROTOCOL,
    Exited,
    FromNursery,
    Kill,
    Retire,
    Settings,
    Spawn,
    Spawned,
    ToWorker,
    WorkerSettings,
)
from supervisor.child import fork_setup
from supervisor.pool.state.inbox import (
    BeatReceived,
    Inbox,
    NurseryDisconnected,
    NurseryExited,
    NurseryMessage,
    WorkerDisconnected,
    WorkerDumped,
    WorkerExited,
    WorkerMessage,
)
from supervisor.pool.state.pool_state import describe, log
from supervisor.pool.state.process_control import ProcessUsage
from supervisor.pool.state.worker_registry import WorkerProcess
from supervisor.processes.child_links import NurseryLink, WorkerLink
from supervisor.processes.dump_collector import DumpCollector
from supervisor.processes.reaper import Reaper
from supervisor.processes.usage import UsageMeter

#: After an exit was seen its channel is at its end too, unless a process that the worker forked
#: without exec holds it open; this long it is waited for, so that nothing it said is missed.
LAST_WORDS_SECONDS = 0.05


@dataclass(slots=True)
class _HeldExit:
    pid: int
    status: int | None
    timer: asyncio.TimerHandle


class ProcessDriver:
    """Implements `Edge`. Owns every link, from the start of a child to its release.

    Arguments:
        settings: of each worker.
        tasks: the task collections for nurseries.
        cwd: the directory of the start, as the user sees it.
        lifeline: of the embedded server, if there is one.
    """

    def __init__(
        self,
        inbox: Inbox,
        reaper: Reaper,
        settings: WorkerSettings,
        tasks: tuple[str, ...],
        cwd: str,
        lifeline: int | None,
    ) -> None:
        self._inbox = inbox
        self._reaper = reaper
        self._settings = settings
        self._tasks = tasks
        self._cwd = cwd
        self._lifeline = lifeline
        self._nurseries: dict[int, NurseryLink] = {}
        self._workers: dict[int, WorkerLink] = {}
        self._dumps: dict[int, DumpCollector] = {}
        self._usage_meter = UsageMeter()
        #: slot, generation -> the incarnation whose Spawn is under way.
        self._spawning: dict[tuple[int, int], WorkerProcess] = {}
        #: Told to die before their pidfd came.
        self._condemned: set[int] = set()
        #: Exits that are told of after the last words, by incarnation.
        self._exits: dict[int, _HeldExit] = {}

    # Nurseries.

    def start_nursery(self, generation: int, *, preload: bool) -> int:
        """Exec a nursery; its pid."""
        settings = Settings(
            PROTOCOL,
            generation,
            list(self._tasks),
            preload,
            self._cwd,
            self._settings,
            self._lifeline,
        )
        link = NurseryLink(
            settings,
            self._lifeline,
            lambda message, fds: self._nursery_said(generation, message, fds),
            lambda text: _log_dump(generation, text),
            lambda fault: self._inbox.put(NurseryDisconnected(generation, fault)),
        )
        self._nurseries[generation] = link
        self._reaper.watch(
            link.pid,
            _pidfd(link.pid),
            lambda status: self._nursery_exited(generation, status),
            leads_group=False,
        )
        return link.pid

    def retire_nursery(self, generation: int) -> None:
        """Tell it to fork no more and to end after its last worker."""
        if generation in self._nurseries:
            self._nurseries[generation].send(Retire())

    def kill_nursery(self, generation: int) -> None:
        """SIGKILL it."""
        if generation in self._nurseries:
            pid = self._nurseries[generation].pid
            if not self._reaper.signal(pid, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)  # our child, unreaped: the pid is its own

    def dump_nursery(self, generation: int) -> None:
        """Have a nursery that has said Hello write its stack, for the log."""
        if generation in self._nurseries:
            self._reaper.signal(self._nurseries[generation].pid, fork_setup.dump_signal())

    def _nursery_said(self, generation: int, message: FromNursery, fds: list[int]) -> None:
        if isinstance(message, Spawned):
            self._spawned(generation, message, fds[0] if fds else None)
        elif isinstance(message, Exited):
            self._reaper.tell(message.pid, message.status)
            self._explain_exit(message.pid, message.status)
        self._inbox.put(NurseryMessage(generation, message))

    def _nursery_exited(self, generation: int, status: int | None) -> None:
        link = self._nurseries.pop(generation)
        link.exited()
        link.close()
        self._inbox.put(NurseryExited(generation, status))

    # Workers.

    def spawn(self, process: WorkerProcess) -> None:
        """Have the nursery of its generation fork it, with a channel of its own."""
        number = process.number
        dumps = DumpCollector(
            lambda text: self._inbox.put(WorkerDumped(number, describe(process), text))
        )
        try:
            link = WorkerLink(
                lambda message: self._inbox.put(WorkerMessage(number, message)),
                lambda beat: self._inbox.put(BeatReceived(number, beat)),
                dumps.add,
                lambda fault: self._channel_closed(number, fault),
            )
        except OSError as error:
            log.error("cannot connect %s: %s", describe(process), error)
            self._inbox.put(WorkerExited(number, None))
            return
        self._workers[number], self._dumps[number] = link, dumps
        self._spawning[process.slot, process.generation] = process
        message = Spawn(process.slot, process.name)
        self._nurseries[process.generation].send(message, link.for_worker)

    def tell(self, process: WorkerProcess, message: ToWorker) -> None:
        """Send it a frame."""
        link = self._workers.get(process.number)
        if link is not None:
            link.send(message)

    def kill(self, process: WorkerProcess) -> None:
        """SIGKILL it; if its pid is not known yet, as soon as it is."""
        if process.spawned_at is None or process.pid is None:
            self._condemned.add(process.number)
        else:
            self._signal(process, signal.SIGKILL)

    def follow(self, process: WorkerProcess) -> None:
        """Its nursery died before it could hand its pidfd over: watch its process from here."""
        pid = process.pid
        # Only an orphan of ours is surely the one that said this pid.
        if pid is None or _parent_of(pid) != os.getpid():
            self._inbox.put(WorkerExited(process.number, None))
            return
        self._watch(process, pid, _pidfd(pid))

    def dump(self, process: WorkerProcess) -> None:
        """Have it write the stacks of its threads, at C level, for the log."""
        # From its fork on: the handler stands before the child is open to any signal.
        if process.spawned_at is not None:
            self._signal(process, fork_setup.dump_signal())

    def release(self, process: WorkerProcess) -> None:
        """It is dead: close what was held for it."""
        number = process.number
        self._condemned.discard(number)
        self._usage_meter.forget(number)
        link = self._workers.pop(number, None)
        if link is not None:
            link.read_rest()
            link.close()
        dumps = self._dumps.pop(number, None)
        if dumps is not None:
            dumps.flush()

    def usage(self, process: WorkerProcess) -> ProcessUsage:
        """CPU and descriptors, of about now."""
        return self._usage_meter.of(process.number)

    def cpu_seconds_by_slot(self) -> Mapping[int, float]:
        """CPU that all workers of each slot have used, the dead ones too; never falls."""
        return self._usage_meter.cpu_seconds_by_slot()

    def cpu_wait_seconds(self, pid: int) -> float | None:
        """How long it has waited for a CPU: the second number of /proc/PID/schedstat, in ns."""
        return _schedstat(pid, 1)

    def cpu_used_seconds(self, pid: int) -> float | None:
        """How long it has had one: the first number."""
        return _schedstat(pid, 0)

    def catch_up(self) -> None:
        """Take in what workers said that may wait for a regular tick: beats, above all."""
        for link in list(self._workers.values()):
            link.catch_up()
        self._usage_meter.tick()

    def close(self) -> None:
        """Close every link that is left."""
        for link in [*self._nurseries.values(), *self._workers.values()]:
            link.close()
        for held in self._exits.values():
            held.timer.cancel()

    def _signal(self, process: WorkerProcess, number: int) -> None:
        if process.pid is None or self._reaper.signal(process.pid, number):
            return
        nursery = self._nurseries.get(process.generation)
        if nursery is not None and number == signal.SIGKILL:
            nursery.send(Kill(process.pid))

    def _spawned(self, generation: int, message: Spawned, pidfd: int | None) -> None:
        process = self._spawning.pop((message.slot, generation), None)
        if process is None or not process.alive:
            # Given up meanwhile: its channel is closed, so it ends by itself.
            if pidfd is not None:
                os.close(pidfd)
            return
        self._watch(process, message.pid, pidfd)

    def _watch(self, process: WorkerProcess, pid: int, pidfd: int | None) -> None:
        number = process.number
        self._reaper.watch(
            pid, pidfd, lambda status: self._exit_seen(number, pid, status), leads_group=True
        )
        process.pid = pid
        self._usage_meter.watch(number, process.slot, pid)
        if number in self._condemned:
            self._signal(process, signal.SIGKILL)

    def _exit_seen(self, number: int, pid: int, status: int | None) -> None:
        link = self._workers.get(number)
        if link is None or link.channel_ended:
            self._inbox.put(WorkerExited(number, status))
            return
        link.listen()
        timer = asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self._report_exit, number)
        self._exits[number] = _HeldExit(pid, status, timer)

    def _explain_exit(self, pid: int, status: int) -> None:
        """The nursery may have reaped it before its last words are read, and says so only once."""
        for held in self._exits.values():
            if held.pid == pid and held.status is None:
                held.status = status

    def _report_exit(self, number: int) -> None:
        held = self._exits.pop(number)
        held.timer.cancel()
        self._inbox.put(WorkerExited(number, held.status))

    def _channel_closed(self, number: int, fault: Exception | None) -> None:
        self._inbox.put(WorkerDisconnected(number, fault))
        if number in self._exits:
            self._report_exit(number)


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None  # no such call here: exits come from SIGCHLD and from the nursery


def _schedstat(pid: int, number: int) -> float | None:
    # By hand: psutil knows no wait for a CPU, and what it has used only of all threads together,
    # while this is of the main thread alone, which is that of the loop.
    try:
        words = Path(f"/proc/{pid}/schedstat").read_text("ascii").split()
        return int(words[number]) / 1e9
    except (OSError, IndexError, ValueError):
        return None


def _parent_of(pid: int) -> int | None:
    try:
        return psutil.Process(pid).ppid()
    except psutil.Error:
        return None


def _log_dump(generation: int, text: str) -> None:
    log.warning("the nursery of generation %d, where it is:\n%s", generation, text.rstrip())
