"""The pool: one inbox feeds one match, and after each event what should be is made so.

Events only change what is known. `_settle` then compares that with what is wanted and acts: it
fills empty slots, gives adoptions to live workers, appoints the steward, advances a drain. So an
event that is lost, or comes twice or late, costs a moment and never a slot.
"""

import signal
from collections import Counter
from collections.abc import Callable

from ipc.messages import (
    PROTOCOL,
    Adopted,
    Drained,
    Draining,
    Fault,
    FromWorker,
    Heartbeat,
    Hello,
    Ready,
    Redelivered,
    Steward,
    Waiting,
)
from supervisor.exit_codes import ExitCode
from supervisor.observer import WorkerDied, WorkerReady
from supervisor.pool import steward
from supervisor.pool.adoptions import AdoptionManager
from supervisor.pool.boot import BootMonitor
from supervisor.pool.exit_log import ExitLog
from supervisor.pool.nursery_manager import NurseryManager
from supervisor.pool.recycle import Recycler
from supervisor.pool.reload import Reloader
from supervisor.pool.replacements import Replacer
from supervisor.pool.restarts import Restarter
from supervisor.pool.scale import Scaler
from supervisor.pool.shutdown import Shutdown
from supervisor.pool.state.drain import END_GRACE_SECONDS
from supervisor.pool.state.exits import WorkerExit, classify, tell_status
from supervisor.pool.state.inbox import (
    BeatReceived,
    CommandReceived,
    Event,
    NurseryDisconnected,
    NurseryExited,
    NurseryMessage,
    ServerEnded,
    SignalReceived,
    Tick,
    WorkerDisconnected,
    WorkerDumped,
    WorkerExited,
    WorkerMessage,
)
from supervisor.pool.state.nursery_registry import NurseryProcess
from supervisor.pool.state.pool_commands import (
    Command,
    Done,
    Drain,
    DumpAll,
    Outcome,
    Reload,
    Requeue,
    Restart,
    Scale,
    nobody,
)
from supervisor.pool.state.pool_state import HEARTBEAT_SECONDS, PoolState, describe, log
from supervisor.pool.state.worker_registry import Cause, WorkerProcess, WorkerState
from supervisor.pool.watchdog import Watchdog
from supervisor.signals import Debouncer, ReceivedSignal
from supervisor.text import durations

#: Of these a second one may be the echo of the first, and a step that nobody meant. Whoever sends
#: two of the others means two: a reload that failed at once may be asked for again at once.
ECHOED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Pool:
    """Decides. Knows no process and no clock: each event brings its time, the edge does the rest.

    Arguments:
        ground: the state of the run.
    """

    def __init__(self, pool_state: PoolState) -> None:
        self._pool_state = pool_state
        self._registry = pool_state.registry
        self._ending = Shutdown(pool_state)
        self._adoption_manager = AdoptionManager(pool_state)
        self._exit_log = ExitLog()
        self._nursery_manager = NurseryManager(
            pool_state, self._ending, self._exit_log, self._not_spawned, self._candidate_ended
        )
        self._replacer = Replacer(pool_state)
        self._restarter = Restarter(pool_state, self._ending, self._replacer)
        self._reloading = Reloader(pool_state, self._nursery_manager, self._replacer)
        self._recycling = Recycler(pool_state)
        self._scaling = Scaler(pool_state, self._replacer)
        self._watch = Watchdog(pool_state, self._ending)
        self._booting = BootMonitor(pool_state, self._ending)
        self._debouncer = Debouncer()
        self._ignored: Counter[str] = Counter()

    @property
    def outcome(self) -> ExitCode | None:
        """How the program ends, once nothing is left to wait for."""
        return self._ending.outcome

    def next_due(self, now: float) -> float | None:
        """When something is due before the next regular tick, if anything is."""
        due = [self._registry.next_due(), self._pool_state.nurseries.due_at]
        return min((at for at in due if at is not None and at > now), default=None)

    def handle(self, event: Event, now: float) -> None:
        """Take in one event that happened at `now`, and make what should be so."""
        self._watch.notice(now)
        match event:
            case BeatReceived(number, beat):
                self._watch.keeper_spoke(number, beat)
            case WorkerMessage(number, message):
                self._worker_said(number, message, now)
            case WorkerDumped(number, who, text):
                self._watch.dumped(number, who, text)
            case WorkerExited(number, status):
                self._worker_exited(number, status, now)
            case WorkerDisconnected(number, fault):
                self._worker_lost(number, fault)
            case NurseryMessage(generation, message):
                self._nursery_manager.said(generation, message, now)
            case NurseryDisconnected(generation, fault):
                self._nursery_manager.lost(generation, fault)
            case NurseryExited(generation, status):
                self._nursery_manager.exited(generation, status, now)
            case SignalReceived(caught):
                self._signalled(caught, now)
            case CommandReceived(order, answer):
                self._ordered(order, answer, now)
            case ServerEnded():
                self._ending.server_ended(now)
            case Tick(regular):
                self._tick(now, regular=regular)
        if not _is_beat(event):
            self._settle(now)

    # What is known of a worker.

    def _worker_said(self, number: int, message: FromWorker, now: float) -> None:
        worker = self._registry.find(number)
        if worker is None or not worker.alive:
            self._unexpected(type(message).__name__, number)
            return
        match message:
            case Hello(protocol, pid):
                self._hello(worker, protocol, pid)
            case Ready():
                self._ready(worker, message, now)
            case Waiting(reason):
                self._waiting(worker, reason)
            case Heartbeat():
                self._heartbeat(worker, message, now)
            case Draining():
                self._enter(worker, WorkerState.DRAINING)
            case Drained():
                self._enter(worker, WorkerState.DRAINED)
                worker.deadline = now + END_GRACE_SECONDS
            case Adopted():
                self._adoption_manager.finished(message, now)
            case Redelivered(consumer, started_at):
                self._adoption_manager.redelivered(consumer, started_at)
            case Fault():
                self._faulty(worker, message, now)

    def _hello(self, worker: WorkerProcess, protocol: int, pid: int) -> None:
        if worker.pid is None:
            worker.pid = pid
        if protocol != PROTOCOL:
            reason = f"it speaks protocol {protocol}, not {PROTOCOL}; restart the supervisor"
            self._pool_state.last_error = reason
            self._pool_state.kill(worker, Cause.BOOT, reason)

    def _ready(self, worker: WorkerProcess, message: Ready, now: float) -> None:
        worker.waiting = None
        worker.rss_bytes = message.rss_bytes
        if message.consumer not in worker.consumers and not worker.adopts_only:
            worker.consumers.append(message.consumer)
        self._watch.loop_spoke(worker.number)
        if not worker.may_enter(WorkerState.READY):
            # It is back after an outage; or was told to drain when there was nothing to drain yet.
            self._ending.remind(worker, now)
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
        self._recycling.ready(worker)
        self._replacer.ready(worker, now)

    def _waiting(self, worker: WorkerProcess, reason: str) -> None:
        # One that boots says so every second, and an outage may last for hours.
        if worker.waiting != reason:
            log.warning("%s waits for the server: %s", describe(worker), reason)
        worker.waiting = reason
        self._pool_state.last_error = f"the server cannot be reached: {reason}"
        self._pool_state.adoptions.adopter_gone(worker.number)

    def _faulty(self, worker: WorkerProcess, fault: Fault, now: float) -> None:
        worker.fault = self._pool_state.last_error = fault.reason
        log.error("%s cannot go on: %s\n%s", describe(worker), fault.reason, fault.traceback)
        nothing_ran = self._pool_state.ready_at is None and not self._registry.consuming()
        if fault.cannot_load and nothing_ran:
            # As where the nursery cannot load: whoever came next would run the same code.
            self._ending.boot_failed(fault.reason, now)

    def _heartbeat(self, worker: WorkerProcess, beat: Heartbeat, now: float) -> None:
        worker.heartbeat, worker.heartbeat_at = beat, now
        worker.rss_bytes = beat.rss_bytes
        self._watch.loop_spoke(worker.number)
        self._pool_state.totals.counted(worker.number, worker.slot, beat.counters)

    def _enter(self, worker: WorkerProcess, state: WorkerState) -> None:
        if worker.may_enter(state):
            worker.enter(state)
        elif worker.state is not state:
            self._unexpected(f"{state} while {worker.state}", worker.number)

    def _worker_lost(self, number: int, fault: Exception | None) -> None:
        worker = self._registry.find(number)
        if worker is None or not worker.alive or worker.state is WorkerState.DRAINED:
            return
        if fault is not None and not isinstance(fault, OSError):
            log.error("%s broke its channel: %s", describe(worker), fault)
            self._pool_state.kill(worker, Cause.CRASH, f"it broke its channel: {fault}")
            return
        # Nearly always the exit follows within microseconds and this kill finds nobody. What is
        # left is a process that closed its own channel: a crash by the code that ran in it, so
        # the kill is not noted as the supervisor's.
        self._pool_state.process_control.kill(worker)

    # Deaths.

    def _worker_exited(self, number: int, status: int | None, now: float) -> None:
        worker = self._registry.find(number)
        if worker is None or not worker.alive:
            return
        death = classify(worker, status)
        healthy_for = worker.healthy_seconds(now)
        worker.enter(WorkerState.DEAD)
        worker.died_at = now
        self._pool_state.process_control.release(worker)
        self._pool_state.adoptions.adopter_gone(number)
        self._pool_state.totals.forget(number)
        self._watch.forget(number)
        if death.adopt:
            self._adoption_manager.died(worker, death.blame, now)
        following = self._restarter.died(worker, death, healthy_for, now)
        self._tell_death(worker, death, following, now)
        self._registry.forget(worker)

    def _tell_death(
        self, worker: WorkerProcess, death: WorkerExit, following: str, now: float
    ) -> None:
        # A crash whose status is not known yet: its line waits for that, nothing else does.
        final = death.reason != tell_status(None)
        self._exit_log.died(worker, death, following, final=final)
        event = WorkerDied(worker.slot, worker.pid, worker.name, death.reason, death.expected, now)
        self._pool_state.observe(event)

    def _not_spawned(self, worker: WorkerProcess, cause: Cause, reason: str, now: float) -> None:
        """The nursery could not fork it, or died before it did: there is no process."""
        worker.killed_for, worker.killed_as = reason, cause
        self._worker_exited(worker.number, None, now)

    def _tick(self, now: float, *, regular: bool) -> None:
        self._watch.tick(now, regular=regular)
        self._exit_log.tick(now)

    # Orders and signals.

    def _ordered(self, order: Command, answer: Callable[[Outcome], None], now: float) -> None:
        match order:
            case Drain():
                self._ending.begin(ExitCode.STOPPED, None, now)
                answer(Done("draining"))
            case Requeue():
                self._ending.hand_back(now)
                answer(Done("handing back what runs"))
            case DumpAll():
                self._watch.dump_all()
                answer(Done("the stacks and tasks of every worker go to the log"))
            case Scale(processes):
                answer(self._scaling.order(processes, now))
            case Restart(slot):
                self._replacer.order(slot, answer)
            case Reload():
                self._reloading.order(answer, now)

    def _signalled(self, caught: ReceivedSignal, now: float) -> None:
        if caught.number == signal.SIGCHLD:
            return
        if caught.number in ECHOED and not self._debouncer.counts(caught):
            return
        match caught.number:
            case signal.SIGTERM | signal.SIGINT:
                self._ending.signalled(signal.Signals(caught.number).name, now)
            case signal.SIGQUIT:
                self._ending.quit(now)
            case signal.SIGUSR1:
                self._watch.dump_all()
            case signal.SIGHUP:
                self._reloading.order(nobody, now)
            case signal.SIGTTIN:
                self._scaling.step(1, now)
            case signal.SIGTTOU:
                self._scaling.step(-1, now)
            case _:
                name = signal.Signals(caught.number).name
                log.warning("%s is not understood by this version; ignored", name)

    def _candidate_ended(self, nursery: NurseryProcess, reason: str, now: float) -> None:
        self._reloading.candidate_ended(nursery, reason, now)

    # Making it so.

    def _settle(self, now: float) -> None:
        if self._pool_state.drain is None:
            self._nursery_manager.settle(now)
            self._booting.settle(now)
        self._reloading.settle(now)
        if self._pool_state.drain is None:
            self._recycling.settle()
        self._replacer.settle(now)
        if self._pool_state.drain is None:
            self._restarter.settle(now)
        self._adoption_manager.settle()
        self._appoint(now)
        if self._pool_state.drain is not None:
            self._ending.settle(now)

    def _appoint(self, now: float) -> None:
        pool_state = self._pool_state
        chosen = steward.elect(self._registry.alive(), pool_state.steward, now, HEARTBEAT_SECONDS)
        number = None if chosen is None else chosen.number
        if number == pool_state.steward:
            return
        former = None if pool_state.steward is None else self._registry.find(pool_state.steward)
        if former is not None and former.alive:
            pool_state.tell(former, Steward(False))
        pool_state.steward = number
        if chosen is not None:
            pool_state.tell(chosen, Steward(True))

    def _unexpected(self, what: str, number: int) -> None:
        self._ignored[what] += 1
        log.warning("unexpected %s of worker incarnation %d was ignored", what, number)


def _is_beat(event: Event) -> bool:
    """Beats come four a second from each worker and change nothing that cannot wait for a tick.

    In a large pool the main cost would be to compare everything with what is wanted at each.
    """
    match event:
        case BeatReceived() | WorkerMessage(_, Heartbeat()):
            return True
        case _:
            return False
