"""Watches time: boots and ends that take too long, loops that are silent, a pool without workers.

It decides nothing that an event could have told; everything here is what did not happen.
"""

from ipc.messages import Beat
from supervisor import durations
from supervisor.adoption import BLAME_NOBODY, blame_key
from supervisor.children import Cause, Incarnation, State
from supervisor.ending import Ending
from supervisor.ground import HEARTBEAT_SECONDS, Ground, describe, log
from supervisor.silence import Kind, Silence, TickClock

#: The regular tick: often enough to move the steward in time, rare enough to cost nothing.
TICK_SECONDS = 0.25
#: From the last dump of a stalled worker to its kill: what the dump needs to arrive.
DUMP_SECONDS = 1.0


class Watch:
    """The service of deadlines and silences."""

    def __init__(self, ground: Ground, ending: Ending) -> None:
        self._ground = ground
        self._ending = ending
        self._clock = TickClock(TICK_SECONDS)
        self._silences: dict[int, Silence] = {}
        self._doomed: dict[int, float] = {}

    # What is heard.

    def loop_spoke(self, number: int) -> None:
        """A worker's loop is alive."""
        if number in self._silences:
            self._silences[number].loop_spoke()
            self._doomed.pop(number, None)

    def keeper_spoke(self, number: int, beat: Beat) -> None:
        """A worker's keeper thread is alive, and says where its loop is."""
        if number in self._silences:
            self._silences[number].keeper_spoke(beat.culprit)

    def forget(self, number: int) -> None:
        """A worker is dead."""
        self._silences.pop(number, None)
        self._doomed.pop(number, None)

    def dump_all(self) -> None:
        """Every worker's stacks to the log."""
        for worker in self._ground.registry.alive():
            if worker.ready_at is not None:
                self._ground.edge.dump(worker)

    # What is not.

    def tick(self, now: float, *, regular: bool) -> None:
        """Look at everything that should have happened by now."""
        listened = self._clock.listened_seconds(now) if regular else 0.0
        for worker in list(self._ground.registry.alive()):
            self._check_deadline(worker, now)
            if listened and worker.ready_at is not None and worker.state is not State.DRAINED:
                self._check_silence(worker, listened, now)
        self._check_service(now)

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
                because = worker.waiting or worker.fault or "it did not say why"
                reason = f"not ready within {within}: {because}"
                self._ground.kill(worker, Cause.BOOT, reason)
        else:
            self._ground.kill(worker, Cause.RETIRED, "it did not end after its drain")

    def _kill_stuck_nursery(self, generation: int) -> None:
        """It forks nothing: what is stuck is not the worker, which does not exist yet."""
        nursery = self._ground.generations.find(generation)
        if nursery is not None and not nursery.condemned:
            log.error("the nursery of generation %d does not fork; it is killed", generation)
            self._ground.kill_nursery(nursery)

    def _check_silence(self, worker: Incarnation, listened: float, now: float) -> None:
        silence = self._silences.setdefault(worker.number, Silence())
        silence.listened(listened)
        config = self._ground.config
        if silence.loop_seconds < 2 * HEARTBEAT_SECONDS:
            return
        if silence.waited_before is None and worker.pid is not None:
            silence.waited_before = self._ground.edge.cpu_wait_seconds(worker.pid)
        if silence.loop_seconds >= config.stall_warning.total_seconds() and not silence.warned:
            silence.warned = True
            self._warn(worker, silence)
        if silence.loop_seconds >= config.stall_timeout.total_seconds():
            self._doom(worker, silence, now)

    def _warn(self, worker: Incarnation, silence: Silence) -> None:
        culprit = _culprit(worker, silence)
        log.warning(
            "%s has been silent for %s: %s%s",
            describe(worker),
            durations.brief(silence.loop_seconds),
            silence.kind(HEARTBEAT_SECONDS).value,
            f", in task {culprit!r}" if culprit else "",
        )
        self._ground.edge.dump(worker)

    def _doom(self, worker: Incarnation, silence: Silence, now: float) -> None:
        """Dump, then a second later kill; unless it only waits for a CPU."""
        waited = None
        if worker.pid is not None:
            waited = self._ground.edge.cpu_wait_seconds(worker.pid)
        if silence.was_starved(waited):
            log.warning("%s is starved of CPU, not stuck; it is left alone", describe(worker))
            silence.loop_spoke()
            return
        doomed_at = self._doomed.get(worker.number)
        if doomed_at is None:
            self._doomed[worker.number] = now
            self._ground.edge.dump(worker)
        elif now - doomed_at >= DUMP_SECONDS:
            culprit = _culprit(worker, silence)
            reason = f"its loop was silent for {durations.brief(silence.loop_seconds)}"
            if culprit is not None:
                reason += f", in task {culprit!r}"
            blame = BLAME_NOBODY if culprit is None else blame_key(culprit)
            self._ground.kill(worker, Cause.STALL, reason, blame)

    def _check_service(self, now: float) -> None:
        ground = self._ground
        if ground.ready_at is None or ground.drain is not None:
            return
        if ground.served_at is None or ground.registry.consuming() or ground.server_is_away:
            ground.served_at = now
        elif now - ground.served_at > ground.config.restart_window.total_seconds():
            self._ending.give_up_serving(now)


def _culprit(worker: Incarnation, silence: Silence) -> str | None:
    """The task that the silence counts for, if it is known.

    While the keeper beats, it says so. A process that is silent altogether said something before,
    but that may be a task in passing: only a single task in flight is surely the one.
    """
    if silence.kind(HEARTBEAT_SECONDS) is Kind.BLOCKED:
        return silence.culprit
    beat = worker.heartbeat
    if beat is not None and beat.in_flight_total == 1 and len(beat.in_flight) == 1:
        return beat.in_flight[0].key
    return None
