"""The meaning of commands and signals: each is passed to the service that carries it out."""

import signal
from collections.abc import Callable

from supervisor.exit_codes import ExitCode
from supervisor.pool.reload import Reloader
from supervisor.pool.replacements import Replacer
from supervisor.pool.scale import Scaler
from supervisor.pool.shutdown import Shutdown
from supervisor.pool.state import pool_commands as commands
from supervisor.pool.state.pool_state import PoolState, log
from supervisor.pool.watchdog import Watchdog
from supervisor.signals import Debouncer, ReceivedSignal

_NOT_IN_A_DRAIN = (commands.Scale, commands.ScaleBetween, commands.Restart, commands.Reload)


class CommandHandler:
    """The service of the control socket, of signals and of an embedding program's commands."""

    def __init__(
        self,
        pool_state: PoolState,
        shutdown: Shutdown,
        replacer: Replacer,
        reloader: Reloader,
        watchdog: Watchdog,
        scaler: Scaler,
    ) -> None:
        self._pool_state = pool_state
        self._shutdown = shutdown
        self._replacer = replacer
        self._reloader = reloader
        self._watchdog = watchdog
        self._scaler = scaler
        self._debouncer = Debouncer()

    def handle_command(
        self, command: commands.Command, answer: Callable[[commands.Outcome], None], now: float
    ) -> None:
        """Carry out a command and answer it: at once, or when a restart or a reload is over."""
        if isinstance(command, _NOT_IN_A_DRAIN) and self._pool_state.drain is not None:
            answer(commands.Refused("the pool drains"))
            return
        match command:
            case commands.Drain():
                self._shutdown.begin(ExitCode.STOPPED, None, now)
                answer(commands.Done("draining"))
            case commands.Requeue():
                self._shutdown.requeue(now)
                answer(commands.Done("handing back what runs"))
            case commands.DumpAll():
                self._watchdog.dump_all()
                answer(commands.Done("the stacks and tasks of every worker go to the log"))
            case commands.Scale(processes):
                answer(self._scaler.scale(processes, now))
            case commands.ScaleBetween(bounds):
                answer(self._scaler.scale_between(bounds, now))
            case commands.Restart(slot):
                self._replacer.replace_on_request(slot, answer)
            case commands.Reload():
                self._reloader.reload(answer, now)

    def handle_signal(self, received: ReceivedSignal, now: float) -> None:
        """Act on a signal, unless it is the echo of the one before."""
        if received.number == signal.SIGCHLD:
            return
        if not self._debouncer.is_new(received):
            return
        match received.number:
            case signal.SIGTERM | signal.SIGINT:
                self._shutdown.terminate(signal.Signals(received.number).name, now)
            case signal.SIGQUIT:
                self._shutdown.quit(now)
            case signal.SIGUSR1:
                self._watchdog.dump_all()
            case signal.SIGHUP:
                self.handle_command(commands.Reload(), commands.discard, now)
            case signal.SIGTTIN:
                self.handle_command(
                    commands.Scale(self._pool_state.registry.target + 1), _log_refusal, now
                )
            case signal.SIGTTOU:
                self.handle_command(
                    commands.Scale(self._pool_state.registry.target - 1), _log_refusal, now
                )
            case _:
                name = signal.Signals(received.number).name
                log.warning("%s is not understood by this version; ignored", name)


def _log_refusal(outcome: commands.Outcome) -> None:
    if isinstance(outcome, commands.Refused):
        log.warning("not scaled: %s", outcome.text)
