"""The shared mutable state of one run: made once, passed to each part of the pool."""

import logging
from collections.abc import Callable

from msgspec import Struct, field, structs

from ipc.messages import Backlog, ServerPolicy, ToWorker
from supervisor.backoff import Backoff
from supervisor.config import SupervisorConfig, usable_cpus
from supervisor.observer import Observer, PoolEvent
from supervisor.pool.state.adoption_queue import BLAME_NOBODY, AdoptionQueue
from supervisor.pool.state.drain import DrainProgress
from supervisor.pool.state.exits import Error, WorkerExit
from supervisor.pool.state.nursery_registry import NurseryProcess, NurseryRegistry, Phase
from supervisor.pool.state.process_control import ProcessControl
from supervisor.pool.state.restart_window import RestartStreak, RestartWindow
from supervisor.pool.state.scaling import ScalingPolicy
from supervisor.pool.state.totals import Totals
from supervisor.pool.state.worker_registry import Cause, Slot, WorkerProcess, WorkerRegistry
from supervisor.process_range import ProcessRange

log = logging.getLogger("supervisor")

#: A starting worker takes room for this long, whatever it does.
PROBATION_SECONDS = 0.25
#: One that ran, or waited for a CPU, for more than this part of its time would be slowed by others.
BUSY_PART = 0.3

#: A backlog is told every two seconds; one older than this says nothing about the present.
BACKLOG_LASTS_SECONDS = 10.0

#: The interval of the heartbeats of a worker's loop, and of the beats of its keeper thread.
HEARTBEAT_SECONDS = 0.5


class PoolState(Struct, eq=False):
    """The state of a run: decisions read and change it; `process_control` alone acts outside."""

    config: SupervisorConfig
    process_control: ProcessControl
    observer: Observer
    registry: WorkerRegistry
    nurseries: NurseryRegistry
    window: RestartWindow
    streak: RestartStreak
    started_at: float
    #: Most workers that may be starting at once.
    starting_at_once: int
    new_backoff: Callable[[], Backoff]
    totals: Totals = field(default_factory=Totals)
    adoptions: AdoptionQueue = field(default_factory=AdoptionQueue)
    #: Number of the worker that is steward.
    steward: int | None = None
    #: When every worker was ready for the first time (or at boot-timeout at least one).
    ready_at: float | None = None
    #: Why the server cannot be reached, by the last worker that said so; None: one has reached it.
    server_lost: str | None = None
    #: When a worker last was able to claim, or the server was known to be away.
    served_at: float | None = None
    #: The latest error of any part, for the last line of a run that fails.
    last_error: Error | None = None
    drain: DrainProgress | None = None
    #: Since when a reload is under way.
    reloading_since: float | None = None
    #: Why the last reload failed; None if it went well, or there was none.
    reload_error: str | None = None
    #: Of the server, as the last steward was told; None if none was let ask.
    server_policy: ServerPolicy | None = None
    #: What waits on the docket, as a steward told last, and when it did.
    backlog: Backlog | None = None
    backlog_at: float = 0.0
    #: Decides the size of a pool that has bounds; None: its size is fixed.
    scaling: ScalingPolicy | None = None

    def observe(self, event: PoolEvent) -> None:
        """Call the observer; its errors are its own and stop nothing here."""
        try:
            self.observer(event)
        except Exception:
            log.exception("the observer of pool events failed at %s", type(event).__name__)

    def send(self, worker: WorkerProcess, message: ToWorker) -> None:
        """Send a frame to a worker that is alive."""
        if worker.alive:
            self.process_control.send(worker, message)

    def scale_between(self, bounds: ProcessRange) -> None:
        """Have the size follow the work between these bounds, from the next look on."""
        up_wait, down_idle = self.config.scale_up_wait, self.config.scale_down_idle
        self.scaling = ScalingPolicy(bounds, up_wait.total_seconds(), down_idle.total_seconds())

    def kill(
        self, worker: WorkerProcess, cause: Cause, reason: str, blame: str = BLAME_NOBODY
    ) -> None:
        """SIGKILL a worker, once, and note why: its exit will ask."""
        if worker.alive and worker.kill_reason is None:
            worker.kill_reason, worker.kill_cause, worker.blame = reason, cause, blame
            self.process_control.kill(worker)

    def nursery_for(self, slot: Slot, generation: int | None = None) -> NurseryProcess | None:
        """The nursery of that generation (None: the current one) if it may fork for `slot` now."""
        nursery = self.nurseries.to_fork_from(generation)
        # The nursery's answer names only the slot: one fork of it at a time.
        if nursery is None or self.registry.awaiting_fork(slot.number, nursery.generation):
            return None
        return nursery

    def start_nursery(self, now: float, *, preload: bool, candidate: bool = False) -> None:
        """Start the nursery of the next generation.

        Raises:
            OSError: the system has no room for it.
        """
        generation = self.nurseries.next_number
        pid = self.process_control.start_nursery(generation, preload=preload)
        self.nurseries.add(pid, now, preload=preload, candidate=candidate)

    def kill_nursery(self, nursery: NurseryProcess) -> None:
        """SIGKILL a nursery, once."""
        if not nursery.kill_sent:
            nursery.kill_sent = True
            self.process_control.kill_nursery(nursery.generation)

    def retire_nursery(self, nursery: NurseryProcess) -> None:
        """Let it fork no more: it ends after its last worker, or now if it has none."""
        if nursery.phase is Phase.LOADING:
            # An import reads no message that it should end, and has nothing to lose.
            self.kill_nursery(nursery)
        elif nursery.phase is Phase.LOADED:
            self.process_control.retire_nursery(nursery.generation)
        nursery.phase = Phase.ENDING

    def complete_exits(self, pid: int, reason: str) -> None:
        """Give the exit status of `pid` to the errors that were noted before it was known."""
        for error in (self.last_error, None if self.drain is None else self.drain.last_error):
            if isinstance(error, WorkerExit):
                error.complete(pid, reason)

    def has_room_to_start(self, now: float) -> bool:
        """Return True if one more worker may be starting: one that only waits takes no room."""
        starting = self.registry.starting()
        if len(starting) < self.starting_at_once:
            return True
        return sum(self._wants_a_cpu(each, now) for each in starting) < self.starting_at_once

    def _wants_a_cpu(self, worker: WorkerProcess, now: float) -> bool:
        """Tell whether a starting worker has run, or waited for a CPU, for much of its time."""
        if worker.pid is None or worker.spawned_at is None:
            return True
        control, lasted = self.process_control, now - worker.spawned_at
        used, waited = control.cpu_used_seconds(worker.pid), control.cpu_wait_seconds(worker.pid)
        if used is None or waited is None or lasted < PROBATION_SECONDS:
            return True
        return used + waited > BUSY_PART * lasted

    @property
    def server_is_away(self) -> bool:
        """Return True if some worker is alive and waits for the server."""
        return bool(self.waiting_for())

    def waiting_for(self) -> list[str]:
        """The reasons for which live workers wait for the server."""
        return [each.waiting for each in self.registry.alive() if each.waiting is not None]

    @property
    def state(self) -> str:
        """The word for /status."""
        if self.drain is not None:
            return "draining"
        if self.ready_at is None:
            return "starting"
        return "running" if self.reloading_since is None else "reloading"

    def ready_slots(self, now: float) -> int:
        """Count the slots with a worker that is ready.

        In a reload a slot has two workers for a moment; it counts once.
        """
        slots = {each.slot for each in self.registry.alive() if each.serves(now)}
        return sum(slot <= self.registry.target for slot in slots)

    def present_backlog(self, now: float) -> Backlog | None:
        """The backlog of the docket, with the places of this pool; None if nobody tells it.

        Without a server or a worker nobody does.
        """
        if self.backlog is None or now - self.backlog_at > BACKLOG_LASTS_SECONDS:
            return None
        serving = [each for each in self.registry.alive() if each.serves(now)]
        return structs.replace(
            self.backlog,
            places=self.config.concurrency * len(serving),
            places_used=sum(each.in_flight for each in serving),
        )

    def not_ready_because(self, now: float) -> str | None:
        """The reason for which /readyz is 503, or None while it is 200."""
        if self.drain is not None:
            return "draining"
        if any(each.serves(now) for each in self.registry.alive()):
            return None
        if self.ready_at is None and not self.registry.consuming():
            return "booting"
        if self.server_is_away:
            return "server away"
        silent = self.registry.consuming()
        return "every worker is silent" if silent else "no worker is ready"


def new_pool_state(
    config: SupervisorConfig,
    process_control: ProcessControl,
    observer: Observer,
    host: str,
    now: float,
) -> PoolState:
    """The state of a run that has not started anything."""
    window_seconds = config.restart_window.total_seconds()
    cap_seconds = config.backoff_max.total_seconds()

    def new_backoff() -> Backoff:
        return Backoff(cap_seconds, window_seconds)

    registry = WorkerRegistry(host, new_backoff)
    registry.set_target(config.bounds.least)
    pool_state = PoolState(
        config=config,
        process_control=process_control,
        observer=observer,
        registry=registry,
        nurseries=NurseryRegistry(new_backoff(), preload=config.preload),
        window=RestartWindow(config.restarts_allowed, window_seconds),
        streak=RestartStreak(window_seconds),
        started_at=now,
        starting_at_once=max(2, usable_cpus()),
        new_backoff=new_backoff,
    )
    if isinstance(config.processes, ProcessRange):
        pool_state.scale_between(config.processes)
    return pool_state
