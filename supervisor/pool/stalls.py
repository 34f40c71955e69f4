"""Watches for loops that say nothing: warns with the stack, then kills and says whose fault it was.

A blocked loop and one under C code that holds the GIL are some task's doing; a frozen process
(SIGSTOP, a wait in the kernel) is nobody's, and neither is one that gets no CPU.
"""

from ipc.messages import Dump
from supervisor.pool.state.adoption_queue import BLAME_NOBODY, blame_functions, blame_key
from supervisor.pool.state.pool_state import HEARTBEAT_SECONDS, PoolState, describe, log
from supervisor.pool.state.silence import Silence, SilenceKind
from supervisor.pool.state.worker_registry import Cause, WorkerProcess
from supervisor.processes.dump_collector import functions_called
from supervisor.text import durations

#: From the last dump of a stalled worker to its kill: what the dump needs to arrive.
DUMP_SECONDS = 1.0


class StallMonitor:
    """The service of silences, one for each worker that has not said anything for a while."""

    def __init__(self, pool_state: PoolState) -> None:
        self._pool_state = pool_state
        self._silences: dict[int, Silence] = {}

    # What is heard.

    def loop_spoke(self, number: int) -> None:
        """A worker's loop is alive."""
        if number in self._silences:
            self._silences[number].loop_spoke()

    def keeper_spoke(self, number: int, culprit: str | None) -> None:
        """A worker's keeper thread is alive, and says where its loop is."""
        if number in self._silences:
            self._silences[number].keeper_spoke(culprit)

    def dumped(self, worker: WorkerProcess, text: str) -> None:
        """A worker wrote its stacks, which is evidence that it runs."""
        silence = self._silences.get(worker.number)
        if silence is not None and worker.ready_at is not None:
            silence.answered(text)
            self._warn(worker, silence)

    def forget(self, number: int) -> None:
        """A worker is dead."""
        self._silences.pop(number, None)

    # What is not.

    def boot_hangs(self, number: int) -> bool:
        """Whether a starting worker has been silent for so long that its stack was asked for."""
        return number in self._silences and self._silences[number].warned

    def starting(self, worker: WorkerProcess, listened: float) -> None:
        """A worker that is to get ready has not said so for so many seconds more."""
        silence = self._silences.setdefault(worker.number, Silence())
        silence.listened(listened)
        if silence.warned or silence.loop_seconds < self._warning_seconds:
            return
        silence.warned = True
        log.warning(
            "%s is still starting after %s",
            describe(worker),
            durations.brief(silence.loop_seconds),
        )
        self._ask(worker, silence)
        # Its loop may well turn, and wait for something: then no thread's stack shows what for.
        self._pool_state.tell(worker, Dump())

    def serving(self, worker: WorkerProcess, listened: float) -> None:
        """A worker that got ready has said nothing for so many seconds more."""
        silence = self._silences.setdefault(worker.number, Silence())
        silence.listened(listened)
        if silence.loop_seconds < 2 * HEARTBEAT_SECONDS:
            return
        if silence.waited_before is None:
            silence.measured(self._waited(worker), self._used(worker))
        if silence.loop_seconds >= self._warning_seconds and silence.asked_at is None:
            self._ask(worker, silence)
        self._warn(worker, silence)
        if silence.loop_seconds >= self._pool_state.config.stall_timeout.total_seconds():
            self._doom(worker, silence)

    @property
    def _warning_seconds(self) -> float:
        return self._pool_state.config.stall_warning.total_seconds()

    def _waited(self, worker: WorkerProcess) -> float | None:
        return (
            None
            if worker.pid is None
            else self._pool_state.process_control.cpu_wait_seconds(worker.pid)
        )

    def _used(self, worker: WorkerProcess) -> float | None:
        return (
            None
            if worker.pid is None
            else self._pool_state.process_control.cpu_used_seconds(worker.pid)
        )

    def _has_had_its_share(self, worker: WorkerProcess, silence: Silence) -> bool:
        """Whether it was silent for a whole timeout of CPU time: then more of it would not help.

        Or tasks that never end, in more workers than there are CPUs, would starve each other, and
        all of them be spared for ever.
        """
        timeout = self._pool_state.config.stall_timeout.total_seconds()
        return silence.used(self._used(worker)) >= timeout

    def _ask(self, worker: WorkerProcess, silence: Silence) -> None:
        silence.asked()
        self._pool_state.process_control.dump(worker)

    def _warn(self, worker: WorkerProcess, silence: Silence) -> None:
        """Once the kind of silence is known: a wrong word would send people the wrong way."""
        if silence.warned or silence.loop_seconds < self._warning_seconds:
            return
        starved = silence.was_starved(self._waited(worker))
        kind = SilenceKind.STARVED if starved else silence.kind(HEARTBEAT_SECONDS)
        if kind is None:
            return
        silence.warned = True
        log.warning(
            "%s has been silent for %s: %s",
            describe(worker),
            durations.brief(silence.loop_seconds),
            _told(kind, silence),
        )

    def _doom(self, worker: WorkerProcess, silence: Silence) -> None:
        """Dump, then a second later kill; unless it only waits for a CPU."""
        if silence.was_starved(self._waited(worker)) and not self._has_had_its_share(
            worker, silence
        ):
            log.warning("%s is starved of CPU, not stuck; it is left alone", describe(worker))
            silence.spare(self._used(worker))
            return
        if silence.kill_due_at is None:
            silence.kill_due_at = silence.loop_seconds
            self._ask(worker, silence)
            return
        kind = silence.kind(HEARTBEAT_SECONDS)
        if kind is None or silence.loop_seconds - silence.kill_due_at < DUMP_SECONDS:
            return
        lasted = durations.brief(silence.loop_seconds)
        reason = f"its loop was silent for {lasted}: {_told(kind, silence)}"
        self._pool_state.kill(worker, Cause.STALL, reason, _blame(kind, silence))


def _told(kind: SilenceKind, silence: Silence) -> str:
    if kind in (SilenceKind.FROZEN, SilenceKind.STARVED):
        return kind.value
    if silence.culprit is not None:
        return f"{kind.value}, in task {silence.culprit!r}"
    called = functions_called(silence.dump or "")
    return f"{kind.value}, in {called[-1]}()" if called else kind.value


def _blame(kind: SilenceKind, silence: Silence) -> str:
    """Whom the stall counts for.

    The keeper names the task while it can speak. Otherwise the stack tells the function, and what
    ran in the worker is known to whoever adopts it.
    """
    if kind is SilenceKind.FROZEN:
        return BLAME_NOBODY
    if silence.culprit is not None:
        return blame_key(silence.culprit)
    return blame_functions(functions_called(silence.dump or ""))
