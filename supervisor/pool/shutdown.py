"""Ends the pool: drains it, escalates, adopts what the killed left, lets the nurseries go last."""

from ipc.messages import Drain as DrainMessage
from supervisor.exit_codes import ExitCode
from supervisor.observer import DrainStarted, Stopped
from supervisor.pool.state.drain import END_GRACE_SECONDS, DrainProgress, Step
from supervisor.pool.state.pool_state import PoolState, describe, log
from supervisor.pool.state.restart_window import Backoff
from supervisor.pool.state.worker_registry import Cause, WorkerProcess, WorkerState
from supervisor.text import durations
from supervisor.text.plurals import pluralize


class Shutdown:
    """The service side of a drain; idle until the first reason to end."""

    def __init__(self, pool_state: PoolState) -> None:
        self._pool_state = pool_state
        self.outcome: ExitCode | None = None
        self._nursery_deadline: float | None = None
        self._adopter_due_at = 0.0
        #: For adopters that die one after the other; the whole of it has its own limit.
        self._adopter_backoff = Backoff(END_GRACE_SECONDS, END_GRACE_SECONDS)

    # Reasons to end.

    def signalled(self, name: str, now: float) -> None:
        """TERM or INT: the first drains, each further one is a step harder."""
        if self._pool_state.drain is None:
            log.info("%s: draining", name)
            self.begin(ExitCode.STOPPED, None, now)
        else:
            self._escalate(f"{name} again", now)

    def quit(self, now: float) -> None:
        """QUIT, or Ctrl-\\: hand back rather than wait; each further one is a step harder."""
        if self._pool_state.drain is None or self._pool_state.drain.step is Step.FINISH:
            log.info("SIGQUIT: ending without waiting for what runs")
            self.hand_back(now)
        else:
            self._escalate("SIGQUIT again", now)

    def hand_back(self, now: float) -> None:
        """End without waiting for what runs: it is cancelled and put back."""
        if self._pool_state.drain is None:
            self.begin(ExitCode.STOPPED, None, now)
        if self._pool_state.drain is not None and self._pool_state.drain.step is Step.FINISH:
            self._escalate("told to hand back", now)

    def boot_failed(self, reason: str, now: float) -> None:
        """Nothing ever ran: there is nothing to wait for."""
        self.begin(ExitCode.BOOT_FAILED, reason, now, step=Step.KILL)

    def give_up_restarting(self, last_error: str, now: float) -> None:
        """Too many restarts. Before the first readiness that is a boot that fails."""
        window = durations.brief(self._pool_state.config.restart_window.total_seconds())
        # As the window has it: the pool may have been scaled.
        allowed = self._pool_state.window.intensity
        reason = f"more than {allowed} restarts in {window}; last: {last_error}"
        if self._pool_state.ready_at is None:
            self.boot_failed(reason, now)
        else:
            self.begin(ExitCode.GAVE_UP, reason, now)

    def give_up_serving(self, now: float) -> None:
        """The server answers, and still no worker got ready for a whole window."""
        window = durations.brief(self._pool_state.config.restart_window.total_seconds())
        error = self._pool_state.last_error or "no worker said why"
        self.begin(ExitCode.GAVE_UP, f"no worker was ready for {window}; last: {error}", now)

    def server_ended(self, now: float) -> None:
        """The embedded server is gone: no outcome can be written, nothing can be handed back."""
        reason = "the embedded server ended by itself; its log tells why"
        if self._pool_state.drain is None:
            self.begin(ExitCode.GAVE_UP, reason, now, step=Step.ABANDON)
        else:
            self._pool_state.drain.step = Step.ABANDON

    def begin(
        self, code: ExitCode, reason: str | None, now: float, step: Step = Step.FINISH
    ) -> None:
        """Begin to drain; a drain that has begun keeps its first reason."""
        pool_state = self._pool_state
        if pool_state.drain is not None:
            return
        waits = step is Step.FINISH
        seconds = pool_state.config.drain_timeout.total_seconds() if waits else 0.0
        pool_state.drain = DrainProgress(code, reason, now + seconds, step)
        workers = list(pool_state.registry.alive())
        running = sum(each.heartbeat.in_flight_total for each in workers if each.heartbeat)
        if workers:
            log.info(
                "%s %s with about %s running, %s%s",
                "draining" if waits else "killing",
                pluralize(len(workers), "worker"),
                pluralize(running, "task"),
                f"at most {durations.brief(seconds)}" if waits else "at once",
                f": {reason}" if reason else "",
            )
        pool_state.observe(DrainStarted(reason, now))
        self._tell_all(now)

    def _tell_all(self, now: float) -> None:
        """Every worker the time it has; the steward last, so that it is one for the longest."""
        pool_state = self._pool_state
        if pool_state.drain is None:
            return
        workers = [each for each in pool_state.registry.alive() if not each.adopts_only]
        workers.sort(key=lambda worker: worker.number == pool_state.steward)
        for worker in workers:
            if worker.waiting is not None and not worker.consumers:
                # It ends by itself, since it has claimed nothing; unless it got ready just now, and
                # its word is on the way: a kill would strand what it runs.
                worker.deadline = now + END_GRACE_SECONDS
            pool_state.tell(worker, DrainMessage(pool_state.drain.seconds_left(now)))
            if worker.may_enter(WorkerState.DRAINING):
                worker.enter(WorkerState.DRAINING)

    def remind(self, worker: WorkerProcess, now: float) -> None:
        """Tell a worker to drain that may have been told before it was able to listen."""
        drain = self._pool_state.drain
        if drain is not None and worker.state is WorkerState.DRAINING and not worker.adopts_only:
            worker.deadline = None
            self._pool_state.tell(worker, DrainMessage(drain.seconds_left(now)))

    def _escalate(self, because: str, now: float) -> None:
        drain = self._pool_state.drain
        if drain is None:
            return
        match drain.escalate(now):
            case Step.HAND_BACK:
                log.warning("%s: what still runs is handed back now", because)
                self._tell_all(now)
            case Step.KILL:
                log.warning("%s: killing the workers; what they ran is handed back", because)
            case _:
                log.warning("%s: ending at once; the next pool redelivers what is left", because)

    # Making it so.

    def settle(self, now: float) -> None:
        """One look at how far it is, after each event of a drain."""
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
                if worker.killed_for is None and drain.step < Step.KILL:
                    log.warning("%s ignored its drain; killed", describe(worker))
                pool_state.kill(worker, Cause.DRAIN, "killed at the end of the drain")
        return bool(workers)

    def _adoptions_are_left(self, drain: DrainProgress, now: float) -> bool:
        pool_state = self._pool_state
        if not len(pool_state.adoptions):
            return False
        if drain.emptied_at is None:
            drain.emptied_at = now
        nursery = pool_state.nurseries.current
        if nursery is None or drain.gives_up_adopting(now):
            log.warning(
                "left for another pool to redeliver: what ran as %s",
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
        adopters: list[WorkerProcess] = [
            each for each in self._pool_state.registry.alive() if each.adopts_only
        ]
        for adopter in adopters:
            if adopter.may_enter(WorkerState.DRAINING):
                adopter.enter(WorkerState.DRAINING)
                adopter.deadline = now + END_GRACE_SECONDS
                self._pool_state.tell(adopter, DrainMessage(0.0))
        return bool(adopters)

    def _nurseries_are_left(self, now: float) -> bool:
        nurseries = self._pool_state.nurseries.alive()
        if self._nursery_deadline is None:
            self._nursery_deadline = now + END_GRACE_SECONDS
        for nursery in nurseries:
            if now >= self._nursery_deadline:
                self._pool_state.kill_nursery(nursery)
            self._pool_state.retire(nursery)
        return bool(nurseries)
