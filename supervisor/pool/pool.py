"""The pool: one inbox feeds one match, and each event is followed by the actions that it needs.

Events only change what is known. `_settle` then compares that with what is wanted and acts: it
fills empty slots, gives adoptions to live workers, appoints the steward, advances a drain. So an
event that is lost, or comes twice or late, costs a moment and never a slot.
"""

from ipc import messages
from supervisor.exit_codes import ExitCode
from supervisor.grace_periods import EXIT_SECONDS
from supervisor.observer import WorkerDied, WorkerReady
from supervisor.pool import steward
from supervisor.pool.adoptions import AdoptionManager
from supervisor.pool.autoscale import Autoscaler
from supervisor.pool.boot import BootMonitor
from supervisor.pool.command_handler import CommandHandler
from supervisor.pool.exit_log import ExitLog
from supervisor.pool.nursery_manager import NurseryManager
from supervisor.pool.recycle import Recycler
from supervisor.pool.reload import Reloader
from supervisor.pool.replacements import Replacer
from supervisor.pool.restarts import Restarter
from supervisor.pool.scale import Scaler
from supervisor.pool.shutdown import Shutdown
from supervisor.pool.stalls import StallMonitor
from supervisor.pool.state import inbox_events as events
from supervisor.pool.state.exits import classify
from supervisor.pool.state.pool_state import HEARTBEAT_SECONDS, PoolState, log
from supervisor.pool.state.worker_registry import Cause, WorkerProcess, WorkerState
from supervisor.pool.watchdog import Watchdog
from supervisor.text import durations


class Pool:
    """Decide, without a process and without a clock: each event brings its time, a driver acts.

    Arguments:
        pool_state: the state of the run.
    """

    def __init__(self, pool_state: PoolState) -> None:
        self._pool_state = pool_state
        self._registry = pool_state.registry
        self._shutdown = Shutdown(pool_state)
        self._adoption_manager = AdoptionManager(pool_state)
        self._exit_log = ExitLog()
        self._replacer = Replacer(pool_state)
        self._restarter = Restarter(pool_state, self._shutdown, self._replacer)
        self._reloader = Reloader(pool_state, self._replacer)
        self._nursery_manager = NurseryManager(
            pool_state,
            self._shutdown,
            self._exit_log,
            self._not_spawned,
            self._reloader.candidate_ended,
        )
        self._recycler = Recycler(pool_state)
        self._stall_monitor = StallMonitor(pool_state)
        self._watchdog = Watchdog(pool_state, self._shutdown, self._stall_monitor)
        self._boot_monitor = BootMonitor(pool_state, self._shutdown)
        scaler = Scaler(pool_state, self._replacer)
        self._autoscaler = Autoscaler(pool_state, scaler)
        self._command_handler = CommandHandler(
            pool_state, self._shutdown, self._replacer, self._reloader, self._watchdog, scaler
        )

    @property
    def outcome(self) -> ExitCode | None:
        """The exit code of the program, once nothing is left to wait for."""
        return self._shutdown.outcome

    def next_due(self, now: float) -> float | None:
        """The time of the next thing that is due before a regular tick, if anything is."""
        due = [self._registry.next_due(), self._pool_state.nurseries.due_at]
        return min((at for at in due if at is not None and at > now), default=None)

    def handle(self, event: events.Event, now: float) -> None:
        """Take in one event that happened at `now`, and act on it."""
        self._watchdog.notice_gap(now)
        match event:
            case events.BeatReceived(number, beat):
                self._stall_monitor.keeper_beat(number, beat.blocking_key)
            case events.WorkerMessage(number, message):
                self._worker_message(number, message, now)
            case events.WorkerDumped(number, worker, text):
                self._stall_monitor.dump_received(number, worker, text)
            case events.WorkerExited(number, status):
                self._worker_exited(number, status, now)
            case events.WorkerDisconnected(number, fault):
                self._worker_disconnected(number, fault)
            case events.NurseryMessage(generation, message):
                self._nursery_manager.handle(generation, message, now)
            case events.NurseryDisconnected(generation, fault):
                self._nursery_manager.disconnected(generation, fault)
            case events.NurseryExited(generation, status):
                self._nursery_manager.exited(generation, status, now)
            case events.SignalReceived(received):
                self._command_handler.handle_signal(received, now)
            case events.CommandReceived(command, answer):
                self._command_handler.handle_command(command, answer, now)
            case events.ServerEnded(written_to):
                self._shutdown.server_ended(written_to, now)
            case events.Tick(regular):
                self._watchdog.tick(now, regular=regular)
                self._autoscaler.tick(now)
                self._exit_log.tick(now)
        if not _is_beat(event):
            self._settle(now)

    # Messages of workers.

    def _worker_message(self, number: int, message: messages.FromWorker, now: float) -> None:
        worker = self._registry.find(number)
        if worker is None or not worker.alive:
            _ignore(type(message).__name__, number)
            return
        match message:
            case messages.Hello(protocol, pid):
                self._hello(worker, protocol, pid)
            case messages.Ready():
                self._ready(worker, message, now)
            case messages.Waiting(reason):
                self._waiting(worker, reason)
            case messages.Heartbeat():
                self._heartbeat(worker, message, now)
            case messages.Draining():
                _enter(worker, WorkerState.DRAINING)
            case messages.Drained():
                _enter(worker, WorkerState.DRAINED)
                worker.deadline = now + EXIT_SECONDS
            case messages.Adopted():
                self._adoption_manager.finished(message, now)
            case messages.Redelivered(consumer, started_at):
                self._adoption_manager.redelivered(consumer, started_at)
            case messages.ServerPolicy():
                self._server_policy(message)
            case messages.Backlog():
                self._pool_state.backlog, self._pool_state.backlog_at = message, now
            case messages.Fault():
                self._fault(worker, message, now)

    def _hello(self, worker: WorkerProcess, protocol: int, pid: int) -> None:
        if worker.pid is None:
            worker.pid = pid
        if protocol != messages.PROTOCOL:
            reason = (
                f"it speaks protocol {protocol}, not {messages.PROTOCOL}; restart the supervisor"
            )
            self._pool_state.last_error = reason
            self._pool_state.kill(worker, Cause.BOOT, reason)

    def _ready(self, worker: WorkerProcess, message: messages.Ready, now: float) -> None:
        worker.waiting = None
        if not worker.adopts_only:  # which says so before it has connected
            self._pool_state.server_lost = None
        worker.rss_bytes = message.rss_bytes
        if message.consumer not in worker.consumers and not worker.adopts_only:
            worker.consumers.append(message.consumer)
        self._stall_monitor.heartbeat(worker.number)
        if not worker.may_enter(WorkerState.READY):
            # It is back after an outage; or got its drain when there was nothing to drain yet.
            self._shutdown.repeat_drain(worker, now)
            self._replacer.got_ready_late(worker, now)
            return
        worker.enter(WorkerState.READY)
        worker.ready_at = now
        worker.deadline = None
        if worker.adopts_only:
            return
        pid = worker.pid or 0
        log.info(
            "worker %d ready: %s, pid %d, %s after its fork",
            worker.slot,
            worker.name,
            pid,
            durations.brief(now - (worker.spawned_at or worker.requested_at)),
        )
        self._pool_state.observe(WorkerReady(worker.slot, pid, worker.name, worker.generation, now))
        self._adoption_manager.hedge(worker)
        self._recycler.ready(worker)
        self._replacer.ready(worker, now)

    def _server_policy(self, policy: messages.ServerPolicy) -> None:
        pool_state = self._pool_state
        # Each steward reports it; the log says it once, and again if it was changed.
        known, pool_state.server_policy = pool_state.server_policy, policy
        if known == policy:
            return
        if policy.maxmemory_policy != "noeviction":
            log.warning(
                "the server evicts keys when its memory is full (maxmemory-policy %s): tasks that "
                "were accepted vanish then; set it to noeviction",
                policy.maxmemory_policy,
            )
        if not (policy.appendonly or pool_state.config.is_embedded):
            log.info(
                "the server appends to no file (appendonly no): with it, tasks are lost that it "
                "accepted after its last snapshot, if it makes any"
            )

    def _waiting(self, worker: WorkerProcess, reason: str) -> None:
        # A worker that boots repeats it every second, and an outage may last for hours.
        if worker.waiting != reason:
            log.warning("%s waits for the server: %s", worker.describe(), reason)
        worker.waiting = self._pool_state.server_lost = reason
        self._pool_state.last_error = f"the server cannot be reached: {reason}"
        self._pool_state.adoptions.adopter_gone(worker.number)

    def _fault(self, worker: WorkerProcess, fault: messages.Fault, now: float) -> None:
        worker.fault = self._pool_state.last_error = fault.reason
        log.error("%s cannot go on: %s\n%s", worker.describe(), fault.reason, fault.traceback)
        nothing_ran = self._pool_state.ready_at is None and not self._registry.consuming()
        if fault.cannot_load and nothing_ran:
            # As if the nursery could not load: another worker would run the same code.
            self._shutdown.boot_failed(fault.reason, now)

    def _heartbeat(self, worker: WorkerProcess, beat: messages.Heartbeat, now: float) -> None:
        worker.heartbeat, worker.heartbeat_at = beat, now
        worker.rss_bytes = beat.rss_bytes
        self._stall_monitor.heartbeat(worker.number)
        self._pool_state.totals.add(worker.number, worker.slot, beat.counters)

    # Ends of workers.

    def _worker_disconnected(self, number: int, fault: Exception | None) -> None:
        worker = self._registry.find(number)
        if worker is None or not worker.alive or worker.state is WorkerState.DRAINED:
            return
        if fault is not None and not isinstance(fault, OSError):
            log.error("%s broke its channel: %s", worker.describe(), fault)
            self._pool_state.kill(worker, Cause.CRASH, f"it broke its channel: {fault}")
            return
        # Nearly always the exit follows within microseconds and this kill finds no process. What is
        # left is a process that closed its own channel: a crash by the code that ran in it, so
        # the kill is not noted as the supervisor's.
        self._pool_state.process_control.kill(worker)

    def _worker_exited(self, number: int, status: int | None, now: float) -> None:
        worker = self._registry.find(number)
        if worker is None or not worker.alive:
            return
        worker_exit = classify(worker, status)
        if worker.state is WorkerState.DRAINED and worker.waiting is None:
            self._pool_state.server_lost = None
        healthy_for = worker.healthy_seconds(now)
        worker.enter(WorkerState.DEAD)
        worker.died_at = now
        self._pool_state.process_control.release(worker)
        self._pool_state.adoptions.adopter_gone(number)
        self._pool_state.totals.forget(number)
        self._stall_monitor.forget(number)
        if worker_exit.adopt:
            self._adoption_manager.add(worker, worker_exit.blame, now)
        consequence = self._restarter.exited(worker, worker_exit, healthy_for, now)
        self._exit_log.add(worker_exit, consequence, now)
        reason, expected = worker_exit.reason, worker_exit.expected
        event = WorkerDied(worker.slot, worker.pid, worker.name, reason, expected, now)
        self._pool_state.observe(event)
        self._registry.forget(worker)

    def _not_spawned(self, worker: WorkerProcess, cause: Cause, reason: str, now: float) -> None:
        """End a worker without a process: its nursery could not fork it, or died before it did."""
        worker.kill_reason, worker.kill_cause = reason, cause
        self._worker_exited(worker.number, None, now)

    # Actions after each event.

    def _settle(self, now: float) -> None:
        if self._pool_state.drain is None:
            self._nursery_manager.settle(now)
            self._boot_monitor.settle(now)
        self._reloader.settle(now)
        if self._pool_state.drain is None:
            self._recycler.settle()
        self._replacer.settle(now)
        if self._pool_state.drain is None:
            self._restarter.settle(now)
        self._adoption_manager.settle()
        self._appoint(now)
        if self._pool_state.drain is not None:
            self._shutdown.settle(now)

    def _appoint(self, now: float) -> None:
        pool_state = self._pool_state
        chosen = steward.elect(self._registry.alive(), pool_state.steward, now, HEARTBEAT_SECONDS)
        number = None if chosen is None else chosen.number
        if number == pool_state.steward:
            return
        former = None if pool_state.steward is None else self._registry.find(pool_state.steward)
        if former is not None and former.alive:
            pool_state.send(former, messages.Steward(False))
        pool_state.steward = number
        if chosen is not None:
            pool_state.send(chosen, messages.Steward(True))


def _enter(worker: WorkerProcess, state: WorkerState) -> None:
    if worker.may_enter(state):
        worker.enter(state)
    elif worker.state is not state:
        _ignore(f"{state} while {worker.state}", worker.number)


def _ignore(message: str, number: int) -> None:
    log.warning("unexpected %s of worker process %d was ignored", message, number)


def _is_beat(event: events.Event) -> bool:
    """Return True for a beat, four a second from each worker, and what else can wait for a tick.

    In a large pool the main cost would be to compare everything with what is wanted at each.
    """
    match event:
        case events.BeatReceived():
            return True
        case events.WorkerMessage(_, messages.Heartbeat() | messages.Backlog()):
            return True
        case _:
            return False
