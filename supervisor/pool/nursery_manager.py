"""Keep a loaded nursery at hand: start it, time it, replace it, handle its messages."""

import signal
from collections.abc import Callable

from ipc import messages
from supervisor.observer import NurseryDied, NurseryLoaded
from supervisor.pool.exit_log import ExitLog
from supervisor.pool.shutdown import Shutdown
from supervisor.pool.state.exits import describe_status
from supervisor.pool.state.nursery_registry import NurseryProcess, Phase
from supervisor.pool.state.pool_state import PoolState, log
from supervisor.pool.state.worker_registry import Cause, WorkerProcess, WorkerState
from supervisor.text import durations

#: Ends a worker that was asked for and never forked.
NotSpawned = Callable[[WorkerProcess, Cause, str, float], None]
#: Called with the nursery of a reload that ended before it was proven, and with the reason.
CandidateEnded = Callable[[NurseryProcess, str, float], None]
#: The boot has failed once this many nurseries were killed from outside in their first import.
BOOT_TRIES = 3


class NurseryManager:
    """The service of the generations."""

    def __init__(
        self,
        pool_state: PoolState,
        shutdown: Shutdown,
        exit_log: ExitLog,
        not_spawned: NotSpawned,
        candidate_ended: CandidateEnded,
    ) -> None:
        self._pool_state = pool_state
        self._nurseries = pool_state.nurseries
        self._shutdown = shutdown
        self._exit_log = exit_log
        self._end_unspawned = not_spawned
        self._candidate_ended = candidate_ended

    def settle(self, now: float) -> None:
        """Start a nursery if there is none."""
        if not self._nurseries.is_needed(now):
            return
        try:
            self._pool_state.start_nursery(now, preload=self._nurseries.preload)
        except OSError as error:
            self._could_not_start(error, now)

    def _could_not_start(self, error: OSError, now: float) -> None:
        reason = f"cannot start the nursery: {error}"
        self._pool_state.last_error = reason
        if self._nurseries.first_loaded_at is None:
            self._shutdown.boot_failed(reason, now)
            return
        pause = self._nurseries.pause_after(None, now)
        log.error("%s; tried again in %s", reason, durations.brief(pause))

    def handle(self, generation: int, message: messages.FromNursery, now: float) -> None:
        """Act on a frame from the nursery of that generation."""
        nursery = self._nurseries.find(generation)
        if nursery is None:
            log.warning("generation %d said %r after its end", generation, message)
            return
        match message:
            case messages.Hello(protocol):
                nursery.is_running = True
                if protocol != messages.PROTOCOL:
                    self._load_failed(nursery, "the code on disk is newer; restart the supervisor")
                    self._pool_state.kill_nursery(nursery)
            case messages.Loaded():
                self._loaded(nursery, message, now)
            case messages.LoadFailed(_, reason, traceback):
                if traceback:
                    log.error("the task modules do not import:\n%s", traceback.rstrip())
                self._load_failed(nursery, reason)
            case messages.Unsafe(_, reasons):
                self._unsafe(nursery, reasons)
            case messages.Spawned(slot, pid):
                self._spawned(nursery, slot, pid, now)
            case messages.SpawnFailed(slot, reason):
                self._not_spawned(nursery, slot, reason, now)
            case messages.Exited():
                self._reaped(message)

    def _loaded(self, nursery: NurseryProcess, message: messages.Loaded, now: float) -> None:
        self._nurseries.loaded(nursery, now)
        notes = ""
        if message.threads_noted:
            notes = "; native threads left by the import: " + ", ".join(message.threads_noted)
        log.info(
            "nursery ready: generation %d, pid %d, %s in %s%s",
            nursery.generation,
            nursery.pid,
            "tasks imported" if nursery.preload else "imports left to the workers",
            durations.brief(message.seconds),
            notes,
        )
        event = NurseryLoaded(nursery.generation, nursery.pid, message.seconds, now)
        self._pool_state.observe(event)

    def _load_failed(self, nursery: NurseryProcess, reason: str) -> None:
        """Note the reason; what follows is decided when the nursery has ended."""
        nursery.phase = Phase.FAILED
        nursery.failure = self._pool_state.last_error = reason

    def _unsafe(self, nursery: NurseryProcess, reasons: list[str]) -> None:
        log.warning(
            "the task modules cannot be imported before forking (%s): each worker imports them",
            "; ".join(reasons),
        )
        nursery.phase = Phase.FAILED
        nursery.unsafe = True
        if not nursery.candidate:
            self._nurseries.preload = False

    def _spawned(self, nursery: NurseryProcess, slot: int, pid: int, now: float) -> None:
        worker = self._pool_state.registry.awaiting_fork(slot, nursery.generation)
        if worker is None:
            log.warning("generation %d forked pid %d unasked", nursery.generation, pid)
            return
        worker.pid, worker.spawned_at = pid, now
        if worker.state is WorkerState.REQUESTED:
            worker.enter(WorkerState.STARTING)
        if worker.is_starting:
            worker.deadline = now + self._pool_state.config.boot_timeout.total_seconds()

    def _not_spawned(self, nursery: NurseryProcess, slot: int, reason: str, now: float) -> None:
        worker = self._pool_state.registry.awaiting_fork(slot, nursery.generation)
        if worker is not None:
            reason = f"the nursery cannot fork: {reason}"
            self._end_unspawned(worker, Cause.SPAWN, reason, now)

    def _reaped(self, message: messages.Exited) -> None:
        reason = describe_status(message.status)
        self._exit_log.reaped(message.pid, reason)
        self._pool_state.complete_exits(message.pid, reason)
        log.debug(
            "pid %d was reaped: %s; %.2f s of CPU, at most %.1f MB",
            message.pid,
            reason,
            message.user_seconds + message.system_seconds,
            message.max_rss_bytes / 1e6,
        )

    def disconnected(self, generation: int, fault: Exception | None) -> None:
        """Kill a nursery whose channel ended: it is of no use any more."""
        nursery = self._nurseries.find(generation)
        if nursery is None or nursery.phase in (Phase.FAILED, Phase.ENDING):
            return
        # ECONNRESET: it died with messages unread; its exit status gives the cause.
        if fault is not None and not isinstance(fault, ConnectionResetError):
            log.error("the nursery of generation %d broke its channel: %s", generation, fault)
        self._pool_state.kill_nursery(nursery)

    def exited(self, generation: int, status: int | None, now: float) -> None:
        """Go on without a nursery; workers that it had not forked are asked of another one."""
        nursery = self._nurseries.find(generation)
        if nursery is None:
            return
        phase = nursery.phase
        self._nurseries.ended(nursery)
        if phase is Phase.ENDING:
            log.debug("the nursery of generation %d has ended", generation)
        elif self._pool_state.drain is None:
            self._died(nursery, phase, status, now)
        for worker in list(self._pool_state.registry.alive()):
            if worker.generation != generation or worker.spawned_at is not None:
                continue
            if worker.pid is None:
                reason = "the nursery died before it had forked it"
                self._end_unspawned(worker, Cause.NURSERY, reason, now)
            else:
                self._pool_state.process_control.watch_orphan(worker)

    def _died(self, nursery: NurseryProcess, phase: Phase, status: int | None, now: float) -> None:
        reason = nursery.failure or f"the nursery ended: {describe_status(status)}"
        if phase is Phase.LOADING:
            reason += " while it imported the task modules"
        if nursery.candidate:
            self._candidate_ended(nursery, reason, now)
            return
        if nursery.unsafe:
            return  # `settle` starts a bare one now
        self._pool_state.last_error = reason
        is_first = self._nurseries.first_loaded_at is None
        if is_first and not _may_be_fine(nursery, phase, status):
            self._shutdown.boot_failed(reason, now)
            return
        pause = self._nurseries.pause_after(nursery.loaded_at, now)
        self._pool_state.totals.restarts[Cause.NURSERY] += 1
        log.error(
            "%s; %sit is replaced %s",
            reason,
            "" if is_first else "its workers go on, ",
            f"in {durations.brief(pause)}" if pause else "at once",
        )
        self._pool_state.observe(NurseryDied(nursery.generation, reason, now))


def _may_be_fine(nursery: NurseryProcess, phase: Phase, status: int | None) -> bool:
    """Return True if its import may be fine: one kill from outside proves nothing, but three do."""
    killed = phase is Phase.LOADING and status == signal.SIGKILL
    return killed and nursery.generation < BOOT_TRIES
