"""End the pool: drain, escalate, have tasks of the killed adopted, end the nurseries last."""

from ipc import messages
from supervisor.backoff import Backoff
from supervisor.exit_codes import ExitCode
from supervisor.grace_periods import EXIT_SECONDS
from supervisor.observer import DrainStarted, Stopped
from supervisor.pool.state.drain import DrainProgress, Step
from supervisor.pool.state.exits import Error
from supervisor.pool.state.pool_state import PoolState, log
from supervisor.pool.state.worker_registry import Cause, WorkerProcess, WorkerState
from supervisor.text import durations
from supervisor.text.plurals import pluralize


class Shutdown:
    """The service of drains; idle until the first reason to end."""

    def __init__(self, pool_state: PoolState) -> None:
        self._pool_state = pool_state
        self.outcome: ExitCode | None = None
        self._nursery_deadline: float | None = None
        self._adopter_due_at = 0.0
        #: For adopters that die one after the other; the whole of it has its own limit.
        self._adopter_backoff = Backoff(EXIT_SECONDS, EXIT_SECONDS)

    # Reasons to end.

    def terminate(self, name: str, now: float) -> None:
        """Drain at the first TERM or INT; go one step further at each one after."""
        if self._pool_state.drain is None:
            log.info("%s: draining", name)
            self.begin(ExitCode.STOPPED, None, now)
        else:
            self._escalate(f"{name} again", now)

    def quit(self, now: float) -> None:
        """Requeue rather than wait at QUIT, or Ctrl-\\; go one step further at each one after."""
        if self._pool_state.drain is None or self._pool_state.drain.step is Step.FINISH:
            log.info("SIGQUIT: ending without waiting for what runs")
            self.requeue(now)
        else:
            self._escalate("SIGQUIT again", now)

    def requeue(self, now: float) -> None:
        """End without waiting for what runs: it is cancelled and requeued."""
        if self._pool_state.drain is None:
            self.begin(ExitCode.STOPPED, None, now)
        if self._pool_state.drain is not None and self._pool_state.drain.step is Step.FINISH:
            self._escalate("told to hand back", now)

    def boot_failed(self, cause: str, now: float, last_error: Error = "") -> None:
        """End at once: nothing ever ran, so there is nothing to wait for."""
        self.begin(ExitCode.BOOT_FAILED, cause, now, Step.KILL, last_error)

    def give_up_restarting(self, last_error: Error, now: float) -> None:
        """End after too many restarts. Before the first readiness that is a boot that fails."""
        window = durations.brief(self._pool_state.config.restart_window.total_seconds())
        # As the window has it: the pool may have been scaled.
        cause = f"more than {self._pool_state.window.intensity} restarts in {window}; last: "
        if self._pool_state.ready_at is None:
            self.boot_failed(cause, now, last_error)
        else:
            self.begin(ExitCode.GAVE_UP, cause, now, last_error=last_error)

    def give_up_healing(self, last_error: Error, now: float) -> None:
        """End after a whole window of restarts in which no worker stayed alive for one."""
        window = durations.brief(self._pool_state.config.restart_window.total_seconds())
        cause = f"workers died for {window}, and none lived that long; last: "
        self.begin(ExitCode.GAVE_UP, cause, now, last_error=last_error)

    def give_up_serving(self, now: float) -> None:
        """End after a whole window without a ready worker, although the server answers."""
        window = durations.brief(self._pool_state.config.restart_window.total_seconds())
        error = self._pool_state.last_error or "no worker said why"
        cause = f"no worker was ready for {window}; last: "
        self.begin(ExitCode.GAVE_UP, cause, now, last_error=error)

    def server_ended(self, written_to: str | None, now: float) -> None:
        """End without the embedded server: no outcome can be written, nothing can be requeued."""
        why = "memory:// keeps no log" if written_to is None else f"its log {written_to} tells why"
        reason = f"the embedded server ended by itself; {why}"
        if self._pool_state.drain is None:
            self.begin(ExitCode.GAVE_UP, reason, now, step=Step.ABANDON)
        else:
            self._pool_state.drain.step = Step.ABANDON

    def begin(
        self,
        code: ExitCode,
        cause: str | None,
        now: float,
        step: Step = Step.FINISH,
        last_error: Error = "",
    ) -> None:
        """Begin to drain; a drain that has begun keeps its first reason."""
        pool_state = self._pool_state
        if pool_state.drain is not None:
            return
        waits = step is Step.FINISH
        seconds = pool_state.config.drain_timeout.total_seconds() if waits else 0.0
        pool_state.drain = DrainProgress(code, cause, now + seconds, step, last_error)
        reason = pool_state.drain.reason
        workers = list(pool_state.registry.alive())
        running = sum(each.heartbeat.in_flight_total for each in workers if each.heartbeat)
        if workers:
            log.info(
                "%s %s (%s at their last heartbeats), %s%s",
                "draining" if waits else "killing",
                pluralize(len(workers), "worker"),
                pluralize(running, "task"),
                f"at most {durations.brief(seconds)}" if waits else "at once",
                f": {reason}" if reason else "",
            )
        pool_state.observe(DrainStarted(reason, now))
        self._drain_workers(now)

    def _drain_workers(self, now: float) -> None:
        """Send every worker its time; the steward last, so that it keeps the role longest."""
        pool_state = self._pool_state
        if pool_state.drain is None:
            return
        workers = [each for each in pool_state.registry.alive() if not each.adopts_only]
        workers.sort(key=lambda worker: worker.number == pool_state.steward)
        for worker in workers:
            if worker.waiting is not None and not worker.consumers:
                # It ends by itself, since it has claimed nothing; unless it got ready just now, and
                # its message is on the way: a kill would strand its tasks.
                worker.deadline = now + EXIT_SECONDS
            pool_state.send(worker, messages.Drain(pool_state.drain.seconds_left(now)))
            if worker.may_enter(WorkerState.DRAINING):
                worker.enter(WorkerState.DRAINING)

    def repeat_drain(self, worker: WorkerProcess, now: float) -> None:
        """Send Drain again to a worker that may have got it before it had anything to drain."""
        drain = self._pool_state.drain
        if drain is not None and worker.state is WorkerState.DRAINING and not worker.adopts_only:
            worker.deadline = None
            self._pool_state.send(worker, messages.Drain(drain.seconds_left(now)))

    def _escalate(self, because: str, now: float) -> None:
        drain = self._pool_state.drain
        if drain is None:
            return
        match drain.escalate(now):
            case Step.REQUEUE:
                log.warning("%s: what still runs is handed back now", because)
                self._drain_workers(now)
            case Step.KILL:
                log.warning("%s: killing the workers; what they ran is handed back", because)
            case _:
                log.warning("%s: ending at once; the next pool redelivers what is left", because)

    # Steps of the end.

    def settle(self, now: float) -> None:
        """Advance the drain if possible; called after each event."""
        drain = self._pool_state.drain
        if drain is None or self.outcome is not None:
            return
        if self._workers_are_left(drain, now) or self._adoptions_are_left(drain, now):
            return
        if self._adopters_are_left(now) or self._nurseries_are_left(now):
            return
        self.outcome = drain.code
        self._pool_state.observe(Stopped(drain.code, drain.reason, now))

    def _workers_are_left(self, drain: DrainProgress, now: float) -> bool:
        pool_state = self._pool_state
        workers = [each for each in pool_state.registry.alive() if not each.adopts_only]
        if drain.must_kill(now):
            for worker in workers:
                if worker.kill_reason is None and drain.step < Step.KILL:
                    log.warning("%s ignored its drain; killed", worker.describe())
                pool_state.kill(worker, Cause.DRAIN, "killed at the end of the drain")
        return bool(workers)

    def _adoptions_are_left(self, drain: DrainProgress, now: float) -> bool:
        pool_state = self._pool_state
        if not len(pool_state.adoptions):
            return False
        if drain.emptied_at is None:
            drain.emptied_at = now
        nursery = pool_state.nurseries.current
        # Without a server nobody can adopt, and it may be away for hours.
        is_away = pool_state.server_lost is not None
        if nursery is None or is_away or drain.gives_up_adopting(now):
            log.warning(
                "left for another pool to redeliver%s: what ran as %s",
                " (the server is away)" if is_away else "",
                ", ".join(pool_state.adoptions.consumers()),
            )
            for consumer in pool_state.adoptions.consumers():
                pool_state.adoptions.done(consumer)
            return False
        adopts = any(each.adopts_only for each in pool_state.registry.alive())
        if not adopts and now >= self._adopter_due_at:
            self._adopter_due_at = now + self._adopter_backoff.pause_after(0.0)
            pool_state.process_control.spawn(
                pool_state.registry.add_adopter(nursery.generation, now)
            )
        return True

    def _adopters_are_left(self, now: float) -> bool:
        adopters = [each for each in self._pool_state.registry.alive() if each.adopts_only]
        for adopter in adopters:
            if adopter.may_enter(WorkerState.DRAINING):
                adopter.enter(WorkerState.DRAINING)
                adopter.deadline = now + EXIT_SECONDS
                self._pool_state.send(adopter, messages.Drain(0.0))
        return bool(adopters)

    def _nurseries_are_left(self, now: float) -> bool:
        nurseries = self._pool_state.nurseries.alive()
        if self._nursery_deadline is None:
            self._nursery_deadline = now + EXIT_SECONDS
        for nursery in nurseries:
            if now >= self._nursery_deadline:
                self._pool_state.kill_nursery(nursery)
            self._pool_state.retire_nursery(nursery)
        return bool(nurseries)
