"""Watch time: boots and ends that take too long, loops that are silent, a pool without workers.

It acts on what did not happen in time, and on nothing else. If this process or the machine was
suspended, that is no worker's delay: every deadline moves by that time.
"""

from ipc.messages import Dump
from supervisor.grace_periods import EXIT_SECONDS, STACK_DUMP_SECONDS
from supervisor.pool.shutdown import Shutdown
from supervisor.pool.stalls import StallMonitor
from supervisor.pool.state.nursery_registry import NurseryProcess, Phase
from supervisor.pool.state.pool_state import PoolState, log
from supervisor.pool.state.silence import TickClock
from supervisor.pool.state.worker_registry import Cause, WorkerProcess, WorkerState
from supervisor.pool.vouching import VouchingManager
from supervisor.text import durations

#: The regular tick: often enough to move the steward in time, rare enough to cost nothing.
TICK_SECONDS = 0.25


class Watchdog:
    """The service of deadlines and silences."""

    def __init__(
        self, pool_state: PoolState, shutdown: Shutdown, stall_monitor: StallMonitor
    ) -> None:
        self._pool_state = pool_state
        self._shutdown = shutdown
        self._clock = TickClock(TICK_SECONDS)
        self._stall_monitor = stall_monitor
        self._vouching_manager = VouchingManager(pool_state, stall_monitor)
        #: generation -> when to log that its import is still under way.
        self._imports: dict[int, float] = {}

    def dump_all(self) -> None:
        """Have every worker log its stacks: of its threads, and by its loop of its coroutines."""
        for worker in self._pool_state.registry.alive():
            self._pool_state.process_control.dump(worker)
            self._pool_state.send(worker, Dump())
        for nursery in self._pool_state.nurseries.alive():
            if nursery.phase is Phase.LOADING and nursery.is_running:
                self._pool_state.process_control.dump_nursery(nursery.generation)

    # Timeouts.

    def notice_gap(self, now: float) -> None:
        """Postpone every deadline by a gap in the ticks; called first with each event."""
        lost = self._clock.lost_seconds(now)
        if lost:
            log.debug("this process did not run for %s", durations.brief(lost))
            self._postpone(lost)

    def tick(self, now: float, *, regular: bool) -> None:
        """Look at everything that should have happened by now."""
        listened = self._clock.listened_seconds(now) if regular else 0.0
        for worker in list(self._pool_state.registry.alive()):
            self._check_deadline(worker, now)
            if listened:
                self._check_silence(worker, listened)
        if listened:
            self._vouching_manager.tick(now)
        for nursery in self._pool_state.nurseries.alive():
            self._check_import(nursery, now)
            self._check_end(nursery, now)
        self._check_service(now)

    def _postpone(self, seconds: float) -> None:
        pool_state = self._pool_state
        for worker in pool_state.registry.alive():
            worker.requested_at += seconds
        for each in (*pool_state.registry.alive(), *pool_state.nurseries.alive()):
            if each.deadline is not None:
                each.deadline += seconds
        if pool_state.served_at is not None:
            pool_state.served_at += seconds
        pool_state.streak.postpone(seconds)
        if pool_state.nurseries.first_loaded_at is not None:
            pool_state.nurseries.first_loaded_at += seconds
        if pool_state.drain is not None:
            pool_state.drain.postpone(seconds)

    def _check_deadline(self, worker: WorkerProcess, now: float) -> None:
        timeout = self._pool_state.config.boot_timeout.total_seconds()
        if worker.state is WorkerState.REQUESTED and worker.spawned_at is None:
            if now >= worker.requested_at + timeout:
                self._kill_stuck_nursery(worker.generation)
            return
        if worker.deadline is None:
            return
        if worker.state is WorkerState.DRAINED and now >= worker.deadline - STACK_DUMP_SECONDS:
            self._ask_what_keeps(worker)
        if now < worker.deadline:
            return
        if worker.is_starting:
            if worker.waiting is None or self._pool_state.ready_at is None:
                within = durations.brief(timeout)
                cause = worker.waiting or worker.fault or self._unknown_cause(worker)
                reason = f"not ready within {within}: {cause}"
                self._pool_state.kill(worker, Cause.BOOT, reason)
        else:
            self._pool_state.kill(worker, Cause.RETIRED, "it did not end after its drain")

    def _ask_what_keeps(self, worker: WorkerProcess) -> None:
        """Have a worker log its stacks that has finished its tasks and does not end."""
        if worker.end_is_late:
            return
        worker.end_is_late = True
        log.warning(
            "%s has finished its tasks and has not ended after %s; it is killed soon",
            worker.describe(),
            durations.brief(EXIT_SECONDS - STACK_DUMP_SECONDS),
        )
        self._pool_state.process_control.dump(worker)

    def _unknown_cause(self, worker: WorkerProcess) -> str:
        if self._stall_monitor.boot_hangs(worker.number):
            return "where it hangs was logged"
        return "it did not say why"

    def _kill_stuck_nursery(self, generation: int) -> None:
        """Kill a nursery that forks nothing: its worker does not exist yet, and is not stuck."""
        nursery = self._pool_state.nurseries.find(generation)
        if nursery is not None and not nursery.kill_sent:
            log.error("the nursery of generation %d does not fork; it is killed", generation)
            self._pool_state.kill_nursery(nursery)

    def _check_silence(self, worker: WorkerProcess, listened: float) -> None:
        if worker.adopts_only:
            return  # it sends no heartbeats, and its end has a deadline
        if worker.ready_at is not None:
            if worker.state is not WorkerState.DRAINED and not worker.adopts_only:
                self._stall_monitor.serving(worker, listened)
        elif worker.spawned_at is not None and worker.waiting is None:
            self._stall_monitor.starting(worker, listened)

    def _check_import(self, nursery: NurseryProcess, now: float) -> None:
        """Warn of a long import: it may take as long as it takes, but must not hang in silence."""
        if nursery.phase is not Phase.LOADING:
            self._imports.pop(nursery.generation, None)
            return
        first = nursery.started_at + self._pool_state.config.stall_warning.total_seconds()
        if now < self._imports.setdefault(nursery.generation, first):
            return
        lasted = now - nursery.started_at
        # Rarely: each time it has taken twice as long as the last time.
        self._imports[nursery.generation] = now + lasted
        log.warning(
            "the nursery of generation %d (pid %d) is still importing the task modules after %s",
            nursery.generation,
            nursery.pid,
            durations.brief(lasted),
        )
        if nursery.is_running:
            self._pool_state.process_control.dump_nursery(nursery.generation)

    def _check_end(self, nursery: NurseryProcess, now: float) -> None:
        """Kill a nursery that does not end: a frozen one would leave its dead workers zombies."""
        alive = self._pool_state.registry.alive()
        if not nursery.is_to_end or any(each.generation == nursery.generation for each in alive):
            nursery.deadline = None
        elif nursery.deadline is None:
            nursery.deadline = now + EXIT_SECONDS
        elif now >= nursery.deadline and not nursery.kill_sent:
            log.warning(
                "the nursery of generation %d (pid %d) did not end after its last worker; killed",
                nursery.generation,
                nursery.pid,
            )
            self._pool_state.kill_nursery(nursery)

    def _check_service(self, now: float) -> None:
        pool_state = self._pool_state
        if pool_state.ready_at is None or pool_state.drain is not None:
            return
        if (
            pool_state.served_at is None
            or pool_state.registry.consuming()
            or pool_state.server_is_away
        ):
            pool_state.served_at = now
        elif now - pool_state.served_at > pool_state.config.restart_window.total_seconds():
            self._shutdown.give_up_serving(now)
