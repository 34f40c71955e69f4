"""Watch for silent loops: warn with the stack, then kill, and blame the task at fault.

A blocked loop and one under C code that holds the GIL are the fault of some task; a frozen process
(SIGSTOP, a wait in the kernel) is not, and neither is one that gets no CPU.
"""

import logging

from ipc.messages import Dump
from supervisor.grace_periods import STACK_DUMP_SECONDS
from supervisor.pool.state.adoption_queue import BLAME_NOBODY, blame_functions, blame_key
from supervisor.pool.state.pool_state import HEARTBEAT_SECONDS, PoolState, log
from supervisor.pool.state.silence import Silence, SilenceKind, Starvation
from supervisor.pool.state.stack_dump import functions_called
from supervisor.pool.state.worker_registry import Cause, WorkerProcess
from supervisor.text import durations


class StallMonitor:
    """The service of silences, one for each worker that has sent nothing for a while."""

    def __init__(self, pool_state: PoolState) -> None:
        self._pool_state = pool_state
        self._silences: dict[int, Silence] = {}
        #: Workers that were asked for a stack in a silence that ended before it came.
        self._overtaken: set[int] = set()
        self._starvations: dict[int, Starvation] = {}

    # Signs of life.

    def heartbeat(self, number: int) -> None:
        """End the silence of a worker's loop."""
        silence = self._silences.get(number)
        if silence is not None:
            if silence.awaits_dump:
                self._overtaken.add(number)
            self._silences[number] = Silence()

    def keeper_beat(self, number: int, blocking_key: str | None) -> None:
        """Note that a worker's keeper thread runs, and the task that its loop is in."""
        if number in self._silences:
            self._silences[number].keeper_beat(blocking_key)

    def dump_received(self, number: int, source: str, text: str) -> None:
        """Log the stacks that a worker wrote, maybe as its last act; they prove that it runs."""
        worker, silence = self._pool_state.registry.find(number), self._silences.get(number)
        # A process that was stopped writes it when it goes on, and all is well again.
        is_late = number in self._overtaken or (silence is not None and silence.dump_is_late)
        self._overtaken.discard(number)
        if worker is not None and silence is not None and worker.ready_at is not None:
            silence.dump_received(text)
            self._warn(worker, silence)
        level = logging.DEBUG if is_late else logging.WARNING
        log.log(level, "%s, where it is:\n%s", source, text.rstrip())

    def forget(self, number: int) -> None:
        """Forget a dead worker."""
        self._silences.pop(number, None)
        self._starvations.pop(number, None)
        self._overtaken.discard(number)

    # Silence.

    def keeper_silence(self, number: int) -> float:
        """The seconds in which neither loop nor keeper of a worker was heard."""
        silence = self._silences.get(number)
        return 0.0 if silence is None else silence.keeper_seconds

    def boot_hangs(self, number: int) -> bool:
        """Return True if a starting worker was silent for so long that its stack was asked for."""
        return number in self._silences and self._silences[number].warned

    def starting(self, worker: WorkerProcess, listened: float) -> None:
        """Add `listened` seconds in which a starting worker was not ready."""
        silence = self._silences.setdefault(worker.number, Silence())
        silence.listened(listened)
        if silence.warned or silence.loop_seconds < self._warning_seconds:
            return
        silence.warned = True
        log.warning(
            "%s is still starting after %s",
            worker.describe(),
            durations.brief(silence.loop_seconds),
        )
        self._request_dump(worker, silence)
        # Its loop may well turn, and wait for something that no thread's stack shows.
        self._pool_state.send(worker, Dump())

    def serving(self, worker: WorkerProcess, listened: float) -> None:
        """Add `listened` seconds in which a worker that got ready sent nothing."""
        if worker.number in self._starvations:
            self._starvations[worker.number].pass_seconds(listened)
        silence = self._silences.setdefault(worker.number, Silence())
        silence.listened(listened)
        if silence.loop_seconds < 2 * HEARTBEAT_SECONDS:
            return
        if silence.waited_before is None:
            silence.measured(self._waited(worker), self._used(worker))
        if silence.loop_seconds >= self._warning_seconds and silence.asked_at is None:
            self._request_dump(worker, silence)
        self._warn(worker, silence)
        if silence.loop_seconds >= self._pool_state.config.stall_timeout.total_seconds():
            self._kill(worker, silence)

    @property
    def _warning_seconds(self) -> float:
        return self._pool_state.config.stall_warning.total_seconds()

    def _waited(self, worker: WorkerProcess) -> float | None:
        control = self._pool_state.process_control
        return None if worker.pid is None else control.cpu_wait_seconds(worker.pid)

    def _used(self, worker: WorkerProcess) -> float | None:
        control = self._pool_state.process_control
        return None if worker.pid is None else control.cpu_used_seconds(worker.pid)

    def _has_had_its_share(self, worker: WorkerProcess, silence: Silence) -> bool:
        """Return True after a whole timeout of CPU time in silence: more would not help.

        Else tasks that never end, in more workers than there are CPUs, would starve each other, and
        all of them be spared for ever.
        """
        timeout = self._pool_state.config.stall_timeout.total_seconds()
        return silence.used(self._used(worker)) >= timeout

    def _request_dump(self, worker: WorkerProcess, silence: Silence) -> None:
        silence.dump_requested()
        self._pool_state.process_control.dump(worker)

    def _warn(self, worker: WorkerProcess, silence: Silence) -> None:
        """Warn once the kind of silence is known: a wrong one would send people the wrong way."""
        if silence.warned or silence.loop_seconds < self._warning_seconds:
            return
        starved = silence.was_starved(self._waited(worker))
        kind = SilenceKind.STARVED if starved else silence.kind(HEARTBEAT_SECONDS)
        if kind is None:
            return
        silence.warned = True
        if kind is SilenceKind.STARVED and not self._is_news(worker):
            return
        log.warning(
            "%s has been silent for %s: %s",
            worker.describe(),
            durations.brief(silence.loop_seconds),
            _describe(kind, silence),
        )

    def _is_news(self, worker: WorkerProcess) -> bool:
        """Tell whether to warn of a starved worker: ever more rarely, for it may stay one."""
        first = Starvation(self._warning_seconds)
        return self._starvations.setdefault(worker.number, first).is_news()

    def _kill(self, worker: WorkerProcess, silence: Silence) -> None:
        """Dump, then a second later kill; spare a worker that only waits for a CPU."""
        if silence.was_starved(self._waited(worker)) and not self._has_had_its_share(
            worker, silence
        ):
            if self._is_news(worker):
                log.warning("%s is starved of CPU, not stuck; it is left alone", worker.describe())
            self._silences[worker.number] = silence.spared(self._used(worker))
            return
        if silence.kill_due_at is None:
            silence.kill_due_at = silence.loop_seconds
            self._request_dump(worker, silence)
            return
        kind = silence.kind(HEARTBEAT_SECONDS)
        if kind is None or silence.loop_seconds - silence.kill_due_at < STACK_DUMP_SECONDS:
            return
        lasted = durations.brief(silence.loop_seconds)
        reason = f"its loop was silent for {lasted}: {_describe(kind, silence)}"
        self._pool_state.kill(worker, Cause.STALL, reason, _blame(kind, silence))


def _describe(kind: SilenceKind, silence: Silence) -> str:
    if kind in (SilenceKind.FROZEN, SilenceKind.STARVED):
        return kind.value
    if silence.blocking_key is not None:
        return f"{kind.value}, in task {silence.blocking_key!r}"
    called = functions_called(silence.dump or "")
    return f"{kind.value}, in {called[-1]}()" if called else kind.value


def _blame(kind: SilenceKind, silence: Silence) -> str:
    """The blame of a stall: the tasks whose count of deaths it raises.

    The keeper names the task while it runs. Otherwise the stack has the function, and the tasks
    that ran in the worker are known to the adopter.
    """
    if kind is SilenceKind.FROZEN:
        return BLAME_NOBODY
    if silence.blocking_key is not None:
        return blame_key(silence.blocking_key)
    return blame_functions(functions_called(silence.dump or ""))
