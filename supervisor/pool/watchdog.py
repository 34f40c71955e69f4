"""Watches time: boots and ends that take too long, loops that are silent, a pool without workers.

It decides nothing that an event could have told; everything here is what did not happen. Time in
which this process did not run, with the whole machine or alone, is nobody's delay: every deadline
is put off by it.
"""

from ipc.messages import Dump, KeeperBeat
from supervisor.pool.shutdown import Shutdown
from supervisor.pool.stalls import StallMonitor
from supervisor.pool.state.drain import END_GRACE_SECONDS
from supervisor.pool.state.nursery_registry import NurseryProcess, Phase
from supervisor.pool.state.pool_state import PoolState, log
from supervisor.pool.state.silence import TickClock
from supervisor.pool.state.worker_registry import Cause, WorkerProcess, WorkerState
from supervisor.text import durations

#: The regular tick: often enough to move the steward in time, rare enough to cost nothing.
TICK_SECONDS = 0.25


class Watchdog:
    """The service of deadlines and silences."""

    def __init__(self, pool_state: PoolState, ending: Shutdown) -> None:
        self._pool_state = pool_state
        self._ending = ending
        self._clock = TickClock(TICK_SECONDS)
        self._stall_monitor = StallMonitor(pool_state)
        #: generation -> when to say that its import is still under way.
        self._imports: dict[int, float] = {}

    # What is heard.

    def loop_spoke(self, number: int) -> None:
        """A worker's loop is alive."""
        self._stall_monitor.loop_spoke(number)

    def keeper_spoke(self, number: int, beat: KeeperBeat) -> None:
        """A worker's keeper thread is alive, and says where its loop is."""
        self._stall_monitor.keeper_spoke(number, beat.blocking_key)

    def dumped(self, number: int, who: str, text: str) -> None:
        """A worker wrote its stacks; maybe as the last thing it did."""
        worker = self._pool_state.registry.find(number)
        if worker is not None:
            self._stall_monitor.dumped(worker, text)
        log.warning("%s, where it is:\n%s", who, text.rstrip())

    def forget(self, number: int) -> None:
        """A worker is dead."""
        self._stall_monitor.forget(number)

    def dump_all(self) -> None:
        """Every worker's stacks to the log: of its threads, and by its loop of its coroutines."""
        for worker in self._pool_state.registry.alive():
            self._pool_state.process_control.dump(worker)
            self._pool_state.tell(worker, Dump())
        for nursery in self._pool_state.nurseries.alive():
            if nursery.phase is Phase.LOADING and nursery.said_hello:
                self._pool_state.process_control.dump_nursery(nursery.generation)

    # What is not.

    def notice(self, now: float) -> None:
        """Called first with each event: a gap in the ticks shows before the next of them comes."""
        lost = self._clock.lost_seconds(now)
        if lost:
            log.debug("this process did not run for %s", durations.brief(lost))
            self._put_off(lost)

    def tick(self, now: float, *, regular: bool) -> None:
        """Look at everything that should have happened by now."""
        listened = self._clock.listened_seconds(now) if regular else 0.0
        for worker in list(self._pool_state.registry.alive()):
            self._check_deadline(worker, now)
            if listened:
                self._check_silence(worker, listened)
        for nursery in self._pool_state.nurseries.alive():
            self._check_import(nursery, now)
            self._check_end(nursery, now)
        self._check_service(now)

    def _put_off(self, seconds: float) -> None:
        pool_state = self._pool_state
        for worker in pool_state.registry.alive():
            worker.requested_at += seconds
            if worker.deadline is not None:
                worker.deadline += seconds
        for nursery in pool_state.nurseries.alive():
            if nursery.deadline is not None:
                nursery.deadline += seconds
        if pool_state.served_at is not None:
            pool_state.served_at += seconds
        if pool_state.nurseries.first_loaded_at is not None:
            pool_state.nurseries.first_loaded_at += seconds
        if pool_state.drain is not None:
            pool_state.drain.put_off(seconds)

    def _check_deadline(self, worker: WorkerProcess, now: float) -> None:
        timeout = self._pool_state.config.boot_timeout.total_seconds()
        if worker.state is WorkerState.REQUESTED and worker.spawned_at is None:
            if now >= worker.requested_at + timeout:
                self._kill_stuck_nursery(worker.generation)
            return
        if worker.deadline is None or now < worker.deadline:
            return
        if worker.is_starting:
            if worker.waiting is None or self._pool_state.ready_at is None:
                within = durations.brief(timeout)
                because = worker.waiting or worker.fault or self._unsaid(worker)
                reason = f"not ready within {within}: {because}"
                self._pool_state.kill(worker, Cause.BOOT, reason)
        else:
            self._pool_state.kill(worker, Cause.RETIRED, "it did not end after its drain")

    def _unsaid(self, worker: WorkerProcess) -> str:
        if self._stall_monitor.boot_hangs(worker.number):
            return "where it hangs was logged"
        return "it did not say why"

    def _kill_stuck_nursery(self, generation: int) -> None:
        """It forks nothing: what is stuck is not the worker, which does not exist yet."""
        nursery = self._pool_state.nurseries.find(generation)
        if nursery is not None and not nursery.kill_sent:
            log.error("the nursery of generation %d does not fork; it is killed", generation)
            self._pool_state.kill_nursery(nursery)

    def _check_silence(self, worker: WorkerProcess, listened: float) -> None:
        if worker.ready_at is not None:
            if worker.state is not WorkerState.DRAINED:
                self._stall_monitor.serving(worker, listened)
        elif worker.spawned_at is not None and worker.waiting is None:
            self._stall_monitor.starting(worker, listened)

    def _check_import(self, nursery: NurseryProcess, now: float) -> None:
        """An import may take as long as it takes; but one that hangs must not hang in silence."""
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
        if nursery.said_hello:
            self._pool_state.process_control.dump_nursery(nursery.generation)

    def _check_end(self, nursery: NurseryProcess, now: float) -> None:
        """One that is frozen neither ends nor reaps, and its dead workers would stay zombies."""
        alive = self._pool_state.registry.alive()
        if not nursery.is_to_end or any(each.generation == nursery.generation for each in alive):
            nursery.deadline = None
        elif nursery.deadline is None:
            nursery.deadline = now + END_GRACE_SECONDS
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
            self._ending.give_up_serving(now)
