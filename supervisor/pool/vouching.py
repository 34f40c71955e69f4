"""Vouch for workers that are alive and silent: have another worker beat and renew for them.

C code that holds the GIL silences every thread of its process, the one that writes heartbeats and
renews leases too. To other hosts such a worker looks dead after some seconds, while the supervisor
gives it the whole stall timeout. Adopted by others meanwhile, a task that only takes long would
run again and again and its outcomes would be thrown away; one that hangs for good would hang the
next worker before the first is killed, and no kill would find a task to blame.
"""

from ipc.messages import Drain, Vouch
from supervisor.backoff import Backoff
from supervisor.grace_periods import EXIT_SECONDS
from supervisor.pool.stalls import StallMonitor
from supervisor.pool.state.pool_state import HEARTBEAT_SECONDS, PoolState, log
from supervisor.pool.state.worker_registry import WorkerProcess, WorkerState
from supervisor.pool.steward import is_late

#: Silence of a worker's keeper after which it is vouched for: its own heartbeats have stopped, and
#: are not missed by anybody yet.
SILENT_SECONDS = 2.0
#: Interval between two vouchings for one worker; the shortest tenure in use is ten times as long.
INTERVAL_SECONDS = 1.0
#: A child that was forked to vouch is kept for so long after the last silence.
LINGER_SECONDS = 30.0


class VouchingManager:
    """The service of silent workers. Stopped processes are not vouched for: they may stay so."""

    def __init__(self, pool_state: PoolState, stall_monitor: StallMonitor) -> None:
        self._pool_state = pool_state
        self._stall_monitor = stall_monitor
        #: number of a silent worker -> when to vouch for it next.
        self._due: dict[int, float] = {}
        self._adopter_due_at = self._needed_at = 0.0
        self._adopter_backoff = Backoff(EXIT_SECONDS, LINGER_SECONDS)

    def tick(self, now: float) -> None:
        """Vouch for every worker that is due."""
        silent = [each for each in self._pool_state.registry.alive() if self._is_silent(each)]
        self._due = {each.number: self._due.get(each.number, now) for each in silent}
        for worker in silent:
            if self._due[worker.number] <= now:
                self._due[worker.number] = now + INTERVAL_SECONDS
                self._vouch_for(worker, now)
        if self._pool_state.drain is None and now - self._needed_at > LINGER_SECONDS:
            self._dismiss_adopters(now)

    def _is_silent(self, worker: WorkerProcess) -> bool:
        if worker.pid is None or worker.ready_at is None or worker.adopts_only:
            return False
        if self._stall_monitor.keeper_silence(worker.number) < SILENT_SECONDS:
            return False
        return not self._pool_state.process_control.is_stopped(worker.pid)

    def _vouch_for(self, silent: WorkerProcess, now: float) -> None:
        pool_state = self._pool_state
        able = [each for each in pool_state.registry.alive() if self._can_vouch(each, now)]
        # The idlest worker; a child that only adopts if there is none.
        chosen = min(able, key=lambda each: (each.adopts_only, each.in_flight), default=None)
        if chosen is None and self._is_server_away(now):
            return  # Nobody can vouch, and nobody else can adopt.
        if chosen is None or chosen.adopts_only:
            self._needed_at = now
        if chosen is None:
            self._fork_adopter(now)
            return
        for consumer in silent.consumers:
            pool_state.send(chosen, Vouch(consumer))

    def _can_vouch(self, worker: WorkerProcess, now: float) -> bool:
        if not worker.can_adopt:
            return False
        # An adopter sends no heartbeats: it has nothing else to do.
        return worker.adopts_only or not is_late(worker, now, HEARTBEAT_SECONDS)

    def _is_server_away(self, now: float) -> bool:
        """Believe it of those that are heard: a silent worker cannot say that it is back."""
        return any(
            each.waiting is not None and not is_late(each, now, HEARTBEAT_SECONDS)
            for each in self._pool_state.registry.alive()
        )

    def _fork_adopter(self, now: float) -> None:
        pool_state = self._pool_state
        nursery = pool_state.nurseries.current
        is_there = any(each.adopts_only for each in pool_state.registry.alive())
        if nursery is None or is_there or now < self._adopter_due_at:
            return
        log.info("every worker is silent: another process keeps their leases")
        self._adopter_due_at = now + self._adopter_backoff.pause_after(0.0)
        adopter = pool_state.registry.add_adopter(nursery.generation, now)
        pool_state.process_control.spawn(adopter)

    def _dismiss_adopters(self, now: float) -> None:
        for adopter in self._pool_state.registry.alive():
            # One that boots is waited for: its boot has a deadline.
            if adopter.adopts_only and adopter.state is WorkerState.READY:
                adopter.enter(WorkerState.DRAINING)
                adopter.deadline = now + EXIT_SECONDS
                self._pool_state.send(adopter, Drain(0.0))
