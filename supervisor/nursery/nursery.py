"""The nursery (a fork server): imports the user's tasks once, and forks workers that share them.

Started by exec, `python -P -m supervisor.nursery.program CHANNEL DUMP [LOG]`, never by fork, so
that the supervisor may have a loop, threads and sockets. It has none of them itself, and no
connection: a process that only forks cannot hand anything half-done to its children. All three are
descriptors: its channel to the supervisor, the pipe for dumps of its stack, where its log goes.

It ends by itself when its import fails or cannot be forked, when it is retired and its last worker
has ended, and when the supervisor is gone: at once while it imports; else it gives its workers the
time of a drain and kills what is left.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ipc import messages
from ipc.blocking import BlockingChannel
from ipc.errors import IpcError
from supervisor.child import fork_setup, signal_shield, task_modules
from supervisor.child.fork_setup import ChildSpec, ForkedChild
from supervisor.child.parent_watch import end_with_supervisor, outlive_supervisor
from supervisor.child.task_modules import CannotLoad
from supervisor.grace_periods import ORPHAN_SECONDS
from supervisor.logs import log_setup
from supervisor.logs.formats import LogContext
from supervisor.nursery import fork_safety
from supervisor.nursery.children import Children
from supervisor.nursery.fork_safety import Verdict
from supervisor.text import truncation

#: Exit statuses of a nursery: its work is done, or it could not begin and has sent the reason.
DONE: Final = 0
NOT_STARTED: Final = 1

#: Reasons not to fork that are sent, at most; one would do.
MOST_REASONS: Final = 20

#: The messages of one read of the channel.
Arrivals = list[tuple[messages.ToNursery, list[int]]]

log = logging.getLogger("docket.supervisor.nursery")


class Nursery:
    """Load, fork and reap. `run` returns in the nursery, and also in each forked child.

    `dump`: a pipe to which faulthandler writes the nursery's own stacks; owned from now on.
    """

    def __init__(
        self, channel: BlockingChannel[messages.ToNursery], dump: int | None = None
    ) -> None:
        self._channel = channel
        self._dump = () if dump is None else (dump,)
        self._children = Children()
        self._early: Arrivals = []
        self._retired = False
        #: When the workers of a supervisor that is gone are killed; None while it is there.
        self._orphans_end: float | None = None
        self._wake_read = self._wake_write = -1

    def run(self) -> ForkedChild | int:
        """A forked child, or the nursery's exit status when its work is done."""
        self._send(messages.Hello(messages.PROTOCOL, os.getpid()))
        settings = self._first_frame()
        if settings is None or not end_with_supervisor(self._channel.fileno()):
            return NOT_STARTED
        if not self._load(settings):
            return NOT_STARTED
        outlive_supervisor()
        return self._serve(settings)

    # -- start

    def _first_frame(self) -> messages.Settings | None:
        """The settings, or None when nothing can be started; then the supervisor has the reason."""
        arrivals: Arrivals | None = []
        try:
            while arrivals == []:
                arrivals = self._channel.receive()
        except IpcError as error:
            return self._refuse(f"the nursery does not understand its settings ({error})")
        if not arrivals:
            return None  # the supervisor went away while we started
        (first, _), *self._early = arrivals
        if not isinstance(first, messages.Settings):
            return self._refuse(f"the nursery was sent {type(first).__name__} first")
        if first.protocol != messages.PROTOCOL:
            return self._refuse(
                f"the supervisor speaks protocol {first.protocol}, not {messages.PROTOCOL}"
            )
        return first

    def _refuse(self, reason: str) -> None:
        reason += ": the code on disk is of another version than the supervisor that runs"
        reason = truncation.head(f"{reason}; restart the supervisor", truncation.REASON)
        self._send(messages.LoadFailed(0, reason))

    def _load(self, settings: messages.Settings) -> bool:
        """Import the tasks, if that is asked for; False if the nursery cannot fork after it."""
        started = time.monotonic()
        try:
            verdict = _enter_and_import(settings, self._given(settings))
        except CannotLoad as error:
            reason = truncation.head(str(error), truncation.REASON)
            traceback = truncation.tail(error.details, truncation.TRACEBACK)
            self._send(messages.LoadFailed(settings.generation, reason, traceback))
            return False
        if verdict.reasons:
            reasons = [
                truncation.head(each, truncation.NAME) for each in verdict.reasons[:MOST_REASONS]
            ]
            self._send(messages.Unsafe(settings.generation, reasons))
            return False
        # From here on the collector does not look at the loaded objects: it would write to each of
        # them, and a page that is written to is no longer shared.
        gc.disable()
        gc.collect()
        gc.freeze()
        seconds = time.monotonic() - started
        self._listen_for_deaths()
        self._send(messages.Loaded(settings.generation, seconds, verdict.noted))
        return True

    def _given(self, settings: messages.Settings) -> frozenset[int]:
        """The descriptors that the supervisor gave to this process."""
        lifeline = () if settings.lifeline is None else (settings.lifeline,)
        ours = (0, 1, 2, log_setup.stream(), self._channel.fileno(), *self._dump, *lifeline)
        return frozenset(ours)

    def _listen_for_deaths(self) -> None:
        """Install the handlers, after the import, which may have put its own in their place."""
        signal_shield.install()
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        # The handler does nothing, but without one Python would not write to the pipe.
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    # -- work

    def _serve(self, settings: messages.Settings) -> ForkedChild | int:
        arrivals: Arrivals | None = self._early
        while True:
            if arrivals is None:
                drain_seconds = settings.worker.drain_timeout_seconds
                self._orphans_end = time.monotonic() + drain_seconds + ORPHAN_SECONDS
                arrivals = []
            child = self._obey(arrivals, settings)
            if child is not None:
                return child
            self._collect()
            if not self._children and (self._retired or self._orphans_end is not None):
                return DONE
            arrivals = self._wait()

    def _obey(self, arrivals: Arrivals, settings: messages.Settings) -> ForkedChild | None:
        """Act on messages. Not None in a forked child, which leaves the rest to its parent."""
        while arrivals:
            message, fds = arrivals.pop(0)
            match message:
                case messages.Spawn():
                    spec = ChildSpec(message.slot, message.name, settings, *fds)
                    child = self._spawn(spec, [fd for _, later in arrivals for fd in later])
                    if child is not None:
                        return child
                case messages.Kill(pid=pid):
                    if not self._children.kill(pid):
                        log.warning("Asked to kill %s, which is no worker of this nursery", pid)
                case messages.Retire():
                    self._retired = True
                case messages.Settings():
                    log.warning("Settings came again and are ignored: they are for the start")
        return None

    def _spawn(self, spec: ChildSpec, fds_of_others: Sequence[int]) -> ForkedChild | None:
        """Fork one worker; not None in the child."""
        fds = (spec.channel, spec.keeper, spec.dump)
        fork_setup.flush()
        with signal_shield.blocked():
            try:
                pid = _fork()
            except OSError as error:
                _close(fds)
                self._send(messages.SpawnFailed(spec.slot, f"cannot fork a worker: {error}"))
                return None
            if pid == 0:
                self._leave_to_parent(fds_of_others)
                return fork_setup.set_up(spec)
        _close(fds)
        self._children.add(pid)
        self._announce(spec.slot, pid)
        return None

    def _leave_to_parent(self, fds_of_others: Sequence[int]) -> None:
        """Close what is the nursery's, in the child, or its ends would never be seen."""
        signal.set_wakeup_fd(-1)
        # faulthandler has the dump pipe's number still; the child gives it another before it is
        # open to signals.
        _close((*fds_of_others, self._wake_read, self._wake_write, *self._dump))
        self._channel.close()
        self._children.forget()

    def _announce(self, slot: int, pid: int) -> None:
        # Opened before the child can be reaped, so it is this child's for sure.
        try:
            pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):
            self._send(messages.Spawned(slot, pid, has_pidfd=False))
        else:
            self._send(messages.Spawned(slot, pid), [pidfd])

    def _collect(self) -> None:
        now = time.monotonic()
        if self._orphans_end is not None and now >= self._orphans_end:
            self._children.kill_all()
        for exited in self._children.collect(now):
            self._send(exited)

    def _wait(self) -> Arrivals | None:
        """Wait until something may have changed; the messages, None when the supervisor is gone."""
        poller = select.poll()
        for fd in (self._wake_read, *self._children.watched()):
            poller.register(fd, select.POLLIN)
        if self._orphans_end is None:
            poller.register(self._channel, select.POLLIN)
        ready = [fd for fd, _ in poller.poll(self._milliseconds_to_wait())]
        if self._wake_read in ready:
            _empty(self._wake_read)
        if self._channel.fileno() not in ready:
            return []
        try:
            return self._channel.receive()
        except (IpcError, OSError):
            log.exception("The channel to the supervisor is broken, so the workers are to end")
            return None

    def _milliseconds_to_wait(self) -> float | None:
        now = time.monotonic()
        deadlines = [self._children.deadline()]
        if self._orphans_end is not None and self._orphans_end > now:
            deadlines.append(self._orphans_end)
        times = [deadline - now for deadline in deadlines if deadline is not None]
        # Rounded up: a poll that returns a moment too early would be made again and again.
        return max(0.0, min(times)) * 1000 + 1 if times else None

    def _send(self, message: messages.Message, fds: Sequence[int] = ()) -> None:
        try:
            self._channel.send(message, fds)
        except OSError:
            # The supervisor is gone: that is handled at the end of the stream, which is read next.
            log.debug("The supervisor did not receive %s", type(message).__name__)


def _enter_and_import(settings: messages.Settings, given: frozenset[int]) -> Verdict:
    """Import the user's modules, and judge the process after it. Raises CannotLoad."""
    if settings.lifeline is not None:
        # Workers hold it too, by fork; the subprocesses of tasks must not.
        os.set_inheritable(settings.lifeline, False)
    written = log_setup.configure(
        settings.worker.logging_level,
        settings.worker.logging_format,
        threaded=False,
        log_context=LogContext("nursery"),
        runs_user_code=True,
    )
    task_modules.enter(settings.cwd, settings.tasks)
    before = fork_safety.take_snapshot()
    if settings.preload:
        with fork_safety.raw_threads_noted():
            task_modules.load(task_modules.paths_of(settings))
        written.reapply()
        task_modules.log_found(settings)
    task_modules.prepare_forks(settings)
    after = fork_safety.take_snapshot()
    verdict = fork_safety.judge(before, after)
    if not verdict.reasons:
        _warn_of_start(fork_safety.not_carried_over(before, after, given))
    return verdict


def _warn_of_start(found: list[str]) -> None:
    if found:
        log.warning(
            "the start of Python (sitecustomize, a .pth file, an agent) made what no worker has for"
            " itself, unless its library sees to that after a fork: %s. Start it in the task"
            " modules instead",
            "; ".join(found[:MOST_REASONS]),
        )


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns of native threads here; the supervisor has their names.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _empty(pipe: int) -> None:
    try:
        while os.read(pipe, 4096):
            pass
    except BlockingIOError:
        return


def main(arguments: Sequence[str], work: Callable[[ChildSpec], int]) -> int:
    """Run a nursery: the arguments are the descriptors of its channel, its dump pipe and its log.

    Without the second its stack cannot be asked for; without the third it logs to stderr. `work` is
    the main function of each forked child; its result is the child's exit status.
    """
    signal_shield.install()
    signal_shield.reset_in_forks()
    sock = socket.socket(fileno=int(arguments[0]))
    sock.set_inheritable(False)
    channel: BlockingChannel[messages.ToNursery] = BlockingChannel(sock, messages.ToNursery)
    dump = int(arguments[1]) if len(arguments) > 1 else None
    if len(arguments) > 2:
        os.set_inheritable(int(arguments[2]), False)
        log_setup.write_to(int(arguments[2]))
    if dump is not None:
        # Before the import, which may hang, and before Hello, after which the stack may be asked.
        os.set_inheritable(dump, False)
        fork_setup.listen_for_dumps(dump)
    outcome = Nursery(channel, dump).run()
    if isinstance(outcome, int):
        channel.close()
        return outcome
    return outcome.exit_handler.with_status(work(outcome.spec))
