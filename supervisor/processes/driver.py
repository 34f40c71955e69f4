"""Carry out the pool's decisions, and turn what happens into events of its inbox."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from ipc import messages
from supervisor import grace_periods
from supervisor.inbox import Inbox
from supervisor.pool.state import inbox_events as events
from supervisor.pool.state.pool_state import log
from supervisor.pool.state.process_control import ProcessUsage
from supervisor.pool.state.worker_registry import WorkerProcess
from supervisor.processes.child_links import NurseryLink, WorkerLink
from supervisor.processes.guard_link import GuardLink
from supervisor.processes.reaper import Reaper
from supervisor.processes.usage import UsageMeter
from supervisor.system import process_table
from supervisor.system.stack_signal import stack_signal


class _HeldExit(Struct):
    pid: int
    status: int | None
    timer: asyncio.TimerHandle


class ProcessDriver:
    """Implement `ProcessControl`. Owns every link, from the start of a child to its release.

    Arguments:
        settings: of each worker.
        tasks: the task collections for nurseries.
        cwd: the directory of the start, as the user sees it.
        lifeline: of the embedded server, if there is one.
        guard: ends the workers if this process cannot.
    """

    def __init__(
        self,
        inbox: Inbox,
        reaper: Reaper,
        settings: messages.WorkerSettings,
        tasks: tuple[str, ...],
        cwd: str,
        lifeline: int | None,
        guard: GuardLink | None = None,
    ) -> None:
        self._guard = guard or GuardLink(None)
        self._inbox = inbox
        self._reaper = reaper
        self._settings = settings
        self._tasks = tasks
        self._cwd = cwd
        self._lifeline = lifeline
        self._nurseries: dict[int, NurseryLink] = {}
        self._workers: dict[int, WorkerLink] = {}
        self._usage_meter = UsageMeter()
        #: slot, generation -> the worker whose Spawn is under way.
        self._spawning: dict[tuple[int, int], WorkerProcess] = {}
        #: Workers to be killed as soon as their pidfd comes.
        self._to_kill: set[int] = set()
        #: Exits that are reported after the last messages, by worker.
        self._exits: dict[int, _HeldExit] = {}

    # Nurseries.

    def start_nursery(self, generation: int, *, preload: bool) -> int:
        """Exec a nursery; its pid."""
        settings = messages.Settings(
            messages.PROTOCOL,
            generation,
            list(self._tasks),
            preload,
            self._cwd,
            self._settings,
            self._lifeline,
            os.getpid(),
        )
        link = NurseryLink(
            settings,
            self._lifeline,
            lambda message, fds: self._nursery_message(generation, message, fds),
            lambda text: _log_dump(generation, text),
            lambda fault: self._inbox.put(events.NurseryDisconnected(generation, fault)),
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
        """Have it fork no more and end after its last worker."""
        if generation in self._nurseries:
            self._nurseries[generation].send(messages.Retire())

    def kill_nursery(self, generation: int) -> None:
        """SIGKILL it."""
        if generation in self._nurseries:
            pid = self._nurseries[generation].pid
            if not self._reaper.signal(pid, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)  # our child, unreaped: the pid is its own

    def dump_nursery(self, generation: int) -> None:
        """Have a nursery that has sent Hello write its stack, for the log."""
        if generation in self._nurseries:
            self._reaper.signal(self._nurseries[generation].pid, stack_signal())

    def _nursery_message(
        self, generation: int, message: messages.FromNursery, fds: list[int]
    ) -> None:
        if isinstance(message, messages.Spawned):
            self._spawned(generation, message, fds[0] if fds else None)
        elif isinstance(message, messages.Exited):
            self._reaper.report(message.pid, message.status)
            self._complete_exit(message.pid, message.status)
        self._inbox.put(events.NurseryMessage(generation, message))

    def _nursery_exited(self, generation: int, status: int | None) -> None:
        link = self._nurseries.pop(generation)
        link.exited()
        link.close()
        self._inbox.put(events.NurseryExited(generation, status))

    # Workers.

    def spawn(self, worker: WorkerProcess) -> None:
        """Have the nursery of its generation fork it, with a channel of its own."""
        number = worker.number
        try:
            link = WorkerLink(
                lambda message: self._inbox.put(events.WorkerMessage(number, message)),
                lambda beat: self._inbox.put(events.BeatReceived(number, beat)),
                lambda text: self._inbox.put(events.WorkerDumped(number, worker.describe(), text)),
                lambda fault: self._channel_closed(number, fault),
            )
        except OSError as error:
            log.error("cannot connect %s: %s", worker.describe(), error)
            self._inbox.put(events.WorkerExited(number, None))
            return
        self._workers[number] = link
        self._spawning[worker.slot, worker.generation] = worker
        message = messages.Spawn(worker.slot, worker.name)
        self._nurseries[worker.generation].send(message, link.for_worker)

    def send(self, worker: WorkerProcess, message: messages.ToWorker) -> None:
        """Send it a frame."""
        link = self._workers.get(worker.number)
        if link is not None:
            link.send(message)

    def kill(self, worker: WorkerProcess) -> None:
        """SIGKILL it; if its pid is not known yet, as soon as it is."""
        if worker.spawned_at is None or worker.pid is None:
            self._to_kill.add(worker.number)
        else:
            self._signal(worker, signal.SIGKILL)

    def watch_orphan(self, worker: WorkerProcess) -> None:
        """Watch a worker whose nursery died before it could hand its pidfd over."""
        pid = worker.pid
        # Only an orphan of ours is surely the one that sent this pid.
        if pid is None or process_table.parent_of(pid) != os.getpid():
            self._inbox.put(events.WorkerExited(worker.number, None))
            return
        self._watch(worker, pid, _pidfd(pid))

    def dump(self, worker: WorkerProcess) -> None:
        """Have it write the stacks of its threads, at C level, for the log."""
        # From its fork on: the handler is installed before the child is open to any signal.
        if worker.spawned_at is not None:
            self._signal(worker, stack_signal())

    def release(self, worker: WorkerProcess) -> None:
        """Close what was held for a dead worker."""
        number = worker.number
        self._to_kill.discard(number)
        self._usage_meter.forget(number)
        link = self._workers.pop(number, None)
        if link is not None:
            link.close()

    def usage(self, worker: WorkerProcess) -> ProcessUsage:
        """CPU and descriptors, of about now."""
        return self._usage_meter.of(worker.number)

    def cpu_seconds_by_slot(self) -> Mapping[int, float]:
        """CPU that all workers of each slot have used, the dead ones too; never falls."""
        return self._usage_meter.cpu_seconds_by_slot()

    def is_stopped(self, pid: int) -> bool:
        """Return True if the kernel calls it stopped or in an uninterruptible wait."""
        return process_table.is_stopped(pid)

    def cpu_wait_seconds(self, pid: int) -> float | None:
        """The time it has waited for a CPU: the second number of /proc/PID/schedstat, in ns."""
        return _schedstat(pid, 1)

    def cpu_used_seconds(self, pid: int) -> float | None:
        """The time it has had a CPU: the first number there."""
        return _schedstat(pid, 0)

    def catch_up(self) -> None:
        """Read the messages of workers that may wait for a regular tick: beats, above all."""
        for link in list(self._workers.values()):
            link.catch_up()
        self._usage_meter.tick()

    def close(self) -> None:
        """Close every link that is left."""
        for link in [*self._nurseries.values(), *self._workers.values()]:
            link.close()
        for held in self._exits.values():
            held.timer.cancel()

    def _signal(self, worker: WorkerProcess, number: int) -> None:
        if worker.pid is None or self._reaper.signal(worker.pid, number):
            return
        nursery = self._nurseries.get(worker.generation)
        if nursery is not None and number == signal.SIGKILL:
            nursery.send(messages.Kill(worker.pid))

    def _spawned(self, generation: int, message: messages.Spawned, pidfd: int | None) -> None:
        worker = self._spawning.pop((message.slot, generation), None)
        if worker is None or not worker.alive:
            # Given up meanwhile: its channel is closed, so it ends by itself.
            if pidfd is not None:
                os.close(pidfd)
            return
        self._watch(worker, message.pid, pidfd)

    def _watch(self, worker: WorkerProcess, pid: int, pidfd: int | None) -> None:
        number = worker.number
        self._reaper.watch(
            pid, pidfd, lambda status: self._exit_seen(number, pid, status), leads_group=True
        )
        worker.pid = pid
        if pidfd is not None:
            self._guard.watch(pid, pidfd)
        self._usage_meter.watch(number, worker.slot, pid)
        if number in self._to_kill:
            self._signal(worker, signal.SIGKILL)

    def _exit_seen(self, number: int, pid: int, status: int | None) -> None:
        link = self._workers.get(number)
        if link is None or link.channel_ended:
            self._inbox.put(events.WorkerExited(number, status))
            return
        link.listen()
        timer = asyncio.get_running_loop().call_later(
            grace_periods.LAST_MESSAGES_SECONDS, self._report_exit, number
        )
        self._exits[number] = _HeldExit(pid, status, timer)

    def _complete_exit(self, pid: int, status: int) -> None:
        """Keep the status of a worker whose last messages are not read: it comes only once."""
        for held in self._exits.values():
            if held.pid == pid and held.status is None:
                held.status = status

    def _report_exit(self, number: int) -> None:
        held = self._exits.pop(number)
        held.timer.cancel()
        self._inbox.put(events.WorkerExited(number, held.status))

    def _channel_closed(self, number: int, fault: Exception | None) -> None:
        self._inbox.put(events.WorkerDisconnected(number, fault))
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


def _log_dump(generation: int, text: str) -> None:
    log.warning("the nursery of generation %d, where it is:\n%s", generation, text.rstrip())
