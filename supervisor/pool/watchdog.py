"""Watches time: boots and ends that take too long, loops that are silent, a pool without workers.

It decides nothing that an event could have told; everything here is what did not happen. Time in
which this process did not run, with the whole machine or alone, is nobody's delay: every deadline
is put off by it.
"""

from ipc.messages import Beat, Dump
from supervisor.pool.shutdown import Ending
from supervisor.pool.stalls import Stalls
from supervisor.pool.state.drain import END_GRACE_SECONDS
from supervisor.pool.state.nursery_registry import Nursery, Phase
from supervisor.pool.state.pool_state import Ground, log
from supervisor.pool.state.silence import TickClock
from supervisor.pool.state.worker_registry import Cause, Incarnation, State
from supervisor.text import durations

#: The regular tick: often enough to move the steward in time, rare enough to cost nothing.
TICK_SECONDS = 0.25


class Watch:
    """The service of deadlines and silences."""

    def __init__(self, ground: Ground, ending: Ending) -> None:
        self._ground = ground
        self._ending = ending
        self._clock = TickClock(TICK_SECONDS)
        self._stalls = Stalls(ground)
        #: generation -> when to say that its import is still under way.
        self._imports: dict[int, float] = {}

    # What is heard.

    def loop_spoke(self, number: int) -> None:
        """A worker's loop is alive."""
        self._stalls.loop_spoke(number)

    def keeper_spoke(self, number: int, beat: Beat) -> None:
        """A worker's keeper thread is alive, and says where its loop is."""
        self._stalls.keeper_spoke(number, beat.culprit)

    def dumped(self, number: int, who: str, text: str) -> None:
        """A worker wrote its stacks; maybe as the last thing it did."""
        worker = self._ground.registry.find(number)
        if worker is not None:
            self._stalls.dumped(worker, text)
        log.warning("%s, where it is:\n%s", who, text.rstrip())

    def forget(self, number: int) -> None:
        """A worker is dead."""
        self._stalls.forget(number)

    def dump_all(self) -> None:
        """Every worker's stacks to the log: of its threads, and by its loop of its coroutines."""
        for worker in self._ground.registry.alive():
            self._ground.edge.dump(worker)
            self._ground.tell(worker, Dump())
        for nursery in self._ground.generations.alive():
            if nursery.phase is Phase.LOADING and nursery.said_hello:
                self._ground.edge.dump_nursery(nursery.generation)

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
        for worker in list(self._ground.registry.alive()):
            self._check_deadline(worker, now)
            if listened:
                self._check_silence(worker, listened)
        for nursery in self._ground.generations.alive():
            self._check_import(nursery, now)
            self._check_end(nursery, now)
        self._check_service(now)

    def _put_off(self, seconds: float) -> None:
        ground = self._ground
        for worker in ground.registry.alive():
            worker.requested_at += seconds
            if worker.deadline is not None:
                worker.deadline += seconds
        for nursery in ground.generations.alive():
            if nursery.deadline is not None:
                nursery.deadline += seconds
        if ground.served_at is not None:
            ground.served_at += seconds
        if ground.generations.first_loaded_at is not None:
            ground.generations.first_loaded_at += seconds
        if ground.drain is not None:
            ground.drain.put_off(seconds)

    def _check_deadline(self, worker: Incarnation, now: float) -> None:
        timeout = self._ground.config.boot_timeout.total_seconds()
        if worker.state is State.REQUESTED and worker.spawned_at is None:
            if now >= worker.requested_at + timeout:
                self._kill_stuck_nursery(worker.generation)
            return
        if worker.deadline is None or now < worker.deadline:
            return
        if worker.is_starting:
            if worker.waiting is None or self._ground.ready_at is None:
                within = durations.brief(timeout)
                because = worker.waiting or worker.fault or self._unsaid(worker)
                reason = f"not ready within {within}: {because}"
                self._ground.kill(worker, Cause.BOOT, reason)
        else:
            self._ground.kill(worker, Cause.RETIRED, "it did not end after its drain")

    def _unsaid(self, worker: Incarnation) -> str:
        if self._stalls.boot_hangs(worker.number):
            return "where it hangs was logged"
        return "it did not say why"

    def _kill_stuck_nursery(self, generation: int) -> None:
        """It forks nothing: what is stuck is not the worker, which does not exist yet."""
        nursery = self._ground.generations.find(generation)
        if nursery is not None and not nursery.condemned:
            log.error("the nursery of generation %d does not fork; it is killed", generation)
            self._ground.kill_nursery(nursery)

    def _check_silence(self, worker: Incarnation, listened: float) -> None:
        if worker.ready_at is not None:
            if worker.state is not State.DRAINED:
                self._stalls.serving(worker, listened)
        elif worker.spawned_at is not None and worker.waiting is None:
            self._stalls.starting(worker, listened)

    def _check_import(self, nursery: Nursery, now: float) -> None:
        """An import may take as long as it takes; but one that hangs must not hang in silence."""
        if nursery.phase is not Phase.LOADING:
            self._imports.pop(nursery.generation, None)
            return
        first = nursery.started_at + self._ground.config.stall_warning.total_seconds()
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
            self._ground.edge.dump_nursery(nursery.generation)

    def _check_end(self, nursery: Nursery, now: float) -> None:
        """One that is frozen neither ends nor reaps, and its dead workers would stay zombies."""
        alive = self._ground.registry.alive()
        if not nursery.is_to_end or any(each.generation == nursery.generation for each in alive):
            nursery.deadline = None
        elif nursery.deadline is None:
            nursery.deadline = now + END_GRACE_SECONDS
        elif now >= nursery.deadline and not nursery.condemned:
            log.warning(
                "the nursery of generation %d (pid %d) did not end after its last worker; killed",
                nursery.generation,
                nursery.pid,
            )
            self._ground.kill_nursery(nursery)

    def _check_service(self, now: float) -> None:
        ground = self._ground
        if ground.ready_at is None or ground.drain is not None:
            return
        if ground.served_at is None or ground.registry.consuming() or ground.server_is_away:
            ground.served_at = now
        elif now - ground.served_at > ground.config.restart_window.total_seconds():
            self._ending.give_up_serving(now)
