"""The supervisor: builds a run, feeds its inbox to the pool, and stops all of it again.

    from supervisor.config import SupervisorConfig
    from supervisor.supervisor import Supervisor

    code = Supervisor(SupervisorConfig(processes=4, tasks=("shop.tasks:all",))).run()

Started in this order, stopped in the reverse one: signals, log, claim of the control socket,
embedded server, HTTP, control socket, loop of the pool. A path that belongs to another supervisor
is known before anything is started; the server ends after the pool, for requeued tasks go to it.
"""

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import time
from collections.abc import AsyncGenerator, Generator
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from ipc.messages import WorkerSettings
from supervisor import accept_faults, observer, signals
from supervisor.config import SupervisorConfig
from supervisor.control.claim import SocketClaim
from supervisor.control.server import claimed, serving
from supervisor.errors import BootFailure, SupervisorError
from supervisor.exit_codes import ExitCode
from supervisor.inbox import Inbox
from supervisor.logs import log_setup
from supervisor.monitoring import status
from supervisor.monitoring.handlers import handlers_of
from supervisor.monitoring.http_server import HttpServer
from supervisor.observer import EndpointsListening, Observer, ServerStarted
from supervisor.pool.pool import Pool
from supervisor.pool.state.inbox_events import CommandReceived, ServerEnded, SignalReceived, Tick
from supervisor.pool.state.pool_commands import Drain, Requeue
from supervisor.pool.state.pool_state import HEARTBEAT_SECONDS, PoolState, new_pool_state
from supervisor.pool.watchdog import TICK_SECONDS
from supervisor.processes.driver import ProcessDriver
from supervisor.processes.guard_link import GuardLink, guarded
from supervisor.processes.reaper import Reaper
from supervisor.system import process_setup, standard_streams
from supervisor.system.prctl import become_subreaper
from supervisor.systemd.notifier import Notifier
from supervisor.text.plurals import pluralize

log = logging.getLogger("supervisor")


class Server(Protocol):
    """The part of the embedded server that a run needs."""

    url: str
    lifeline: int
    log: Path | None

    def fileno(self) -> int:
        """The descriptor that is readable once it has ended by itself."""
        ...

    def stop(self) -> None:
        """End it and wait until it has ended."""
        ...


class Supervisor:
    """One run of one pool.

    Arguments:
        config: what to run.
        on_event: called on the loop with each event of supervisor.observer, in order.
        signal_queue: signal handlers that are installed, and stay; without them `run` has its own.
    """

    def __init__(
        self,
        config: SupervisorConfig,
        *,
        on_event: Observer = observer.ignore,
        signal_queue: signals.SignalQueue | None = None,
    ) -> None:
        self._config = config
        self._on_event = on_event
        self._signal_queue = signal_queue
        self._inbox: Inbox | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_command: Drain | Requeue | None = None
        self._directory = ""
        #: Why the run ended, if not by a plain stop.
        self.reason: str | None = None

    def run(self) -> int:
        """Run the pool as this whole program until it ends; the exit code.

        Takes the process over: its signals (in the main thread), its root logger, its orphans.
        The last line on stderr is the reason, if the run did not end by a plain stop.

        Raises:
            BootFailure: the system has no room for a thread that writes the log.
        """
        standard_streams.open_standard_streams()
        process_setup.raise_file_limit()
        process_setup.take_name()
        own = None
        if self._signal_queue is None and signals.in_main_thread():
            own = self._signal_queue = signals.SignalQueue()
            own.install()
        try:
            written = log_setup.configure(
                self._config.logging_level, self._config.logging_format, threaded=True
            )
        except RuntimeError as error:
            reason = f"cannot start ({error}); is a limit of processes or threads reached?"
            raise BootFailure(reason) from error
        try:
            code = asyncio.run(self._serve(own_process=True))
        except SupervisorError as error:
            code, self.reason = error.exit_code, str(error)
        except Exception:
            log.critical("a bug of the supervisor ended it", exc_info=True)
            code, self.reason = ExitCode.BUG, "a bug of the supervisor; see the traceback above"
        finally:
            written.stop()
            if own is not None:
                own.close()
        if self.reason is not None:
            written.last_line(f"docket-supervisor: {' '.join(self.reason.split())}")
        return int(code)

    async def serve(self) -> int:
        """Run the pool as a guest on the running loop until `stop`; the exit code.

        Leaves signals and logging to the host, and reaps only what the pool started.

        Raises:
            SupervisorError: the pool could not be started at all; nothing is left running.
        """
        return int(await self._serve(own_process=False))

    def stop(self, *, hand_back: bool = False) -> None:
        """Drain and end, as TERM does; from any thread, before the start or twice too.

        Arguments:
            hand_back: cancel what runs and requeue it, rather than wait for it.
        """
        command = Requeue() if hand_back else Drain()
        self._stop_command = command
        loop, inbox = self._loop, self._inbox
        if loop is not None and inbox is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the run with it
                loop.call_soon_threadsafe(inbox.put, CommandReceived(command))

    async def _serve(self, *, own_process: bool) -> ExitCode:
        self._loop = asyncio.get_running_loop()
        self._inbox = inbox = Inbox()
        self._directory = process_setup.logical_directory()
        if self._stop_command is not None:
            inbox.put(CommandReceived(self._stop_command))
        async with claimed(self._config) as claim:
            return await self._run_pool(inbox, claim, own_process=own_process)

    async def _run_pool(
        self, inbox: Inbox, claim: SocketClaim | None, *, own_process: bool
    ) -> ExitCode:
        with self._server() as server, contextlib.ExitStack() as stack:
            # Before it: the guard is to be nobody's child.
            guard = stack.enter_context(guarded(self._config.drain_timeout.total_seconds()))
            become_subreaper()
            reaper = Reaper(reap_unknown=own_process)
            stack.callback(reaper.close)
            driver = self._driver(inbox, reaper, server, guard)
            stack.callback(driver.close)
            pool_state = new_pool_state(
                self._config, driver, self._on_event, process_setup.host_name(), time.monotonic()
            )
            if server is not None:
                self._watch_server(server, stack)
                pool_state.observe(ServerStarted(server.url, time.monotonic()))
            if self._signal_queue is not None:
                self._read_signals(self._signal_queue, reaper, stack)
            # As a guest the host notifies the service manager: its service is more than this pool.
            notifier = Notifier(pool_state, os.environ if own_process else {}, os.getpid())
            stack.callback(notifier.close)
            stack.enter_context(accept_faults.told_seldom())
            control = self._control(claim, pool_state, inbox, guest=not own_process)
            async with self._endpoints(pool_state), control:
                ticker = _Ticker(inbox, reaper, driver)
                code = await self._feed(Pool(pool_state), inbox, ticker, notifier)
            self.reason = pool_state.drain.reason if pool_state.drain is not None else None
            log.info("stopped: exit code %d", code)
            return code

    async def _feed(
        self, pool: Pool, inbox: Inbox, ticker: "_Ticker", notifier: Notifier
    ) -> ExitCode:
        """Hand every event to the pool, in order, until it has nothing left to wait for."""
        try:
            while pool.outcome is None:
                event, at = await inbox.take()
                pool.handle(event, at)
                notifier.update(event, at)
                if inbox.is_empty:  # else the next event asks again before anything else can run
                    ticker.wake_at(notifier.next_due(pool.next_due(at)))
            return pool.outcome
        finally:
            ticker.close()

    @contextlib.contextmanager
    def _server(self) -> Generator[Server | None]:
        if not self._config.is_embedded:
            yield None
            return
        module = importlib.import_module("supervisor.server_start")
        server: Server = module.start_for(self._config.url)
        try:
            yield server
        finally:
            server.stop()

    def _watch_server(self, server: Server, stack: contextlib.ExitStack) -> None:
        """Report the end of the server at once: workers would wait for it for ever."""
        loop, inbox = asyncio.get_running_loop(), self._inbox
        log.info("the embedded server is up; producers connect to %s", server.url)

        def ended() -> None:
            loop.remove_reader(server)
            if inbox is not None:
                inbox.put(ServerEnded(None if server.log is None else str(server.log)))

        loop.add_reader(server, ended)
        stack.callback(loop.remove_reader, server)

    def _read_signals(
        self, signal_queue: signals.SignalQueue, reaper: Reaper, stack: contextlib.ExitStack
    ) -> None:
        loop, inbox = asyncio.get_running_loop(), self._inbox

        def take() -> None:
            for received in signal_queue.take():
                if received.number == signal.SIGCHLD:
                    reaper.sweep()
                elif inbox is not None:
                    inbox.put(SignalReceived(received), received.at)

        loop.add_reader(signal_queue, take)
        stack.callback(loop.remove_reader, signal_queue)
        take()  # those that came before there was a loop

    def _driver(
        self, inbox: Inbox, reaper: Reaper, server: Server | None, guard: GuardLink
    ) -> ProcessDriver:
        config = self._config
        return ProcessDriver(
            inbox,
            reaper,
            worker_settings(config, config.url if server is None else server.url),
            config.tasks,
            self._directory,
            None if server is None else server.lifeline,
            guard,
        )

    def _control(
        self, claim: SocketClaim | None, pool_state: PoolState, inbox: Inbox, *, guest: bool
    ) -> contextlib.AbstractAsyncContextManager[None]:
        def report() -> dict[str, Any]:
            return status.report(pool_state, time.monotonic())

        return serving(claim, inbox, report, guest=guest)

    @contextlib.asynccontextmanager
    async def _endpoints(self, pool_state: PoolState) -> AsyncGenerator[None]:
        config, shown = self._config, "off"
        endpoints = None
        if config.http is not None:
            endpoints = HttpServer(config.http, handlers_of(pool_state), config.http_allow_host)
            address = await endpoints.start()
            shown = f"http://{address}"
            pool_state.observe(EndpointsListening(address.host, address.port, time.monotonic()))
        log.info(
            "starting %s on docket %r at %s, pid %d, http %s",
            _pool_size(config),
            config.docket,
            config.display_url,
            os.getpid(),
            shown,
        )
        try:
            yield
        finally:
            if endpoints is not None:
                await endpoints.stop()


class _Ticker:
    """Put ticks into the inbox: regular ones, and one if something is due before the next."""

    def __init__(self, inbox: Inbox, reaper: Reaper, driver: ProcessDriver) -> None:
        self._loop = asyncio.get_running_loop()
        self._inbox = inbox
        self._reaper = reaper
        self._driver = driver
        self._wake: asyncio.TimerHandle | None = None
        self._regular = self._loop.call_soon(self._tick)

    def wake_at(self, at: float | None) -> None:
        """Tick at `at` seconds of the monotonic clock, rather than at the time set before."""
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if at is not None:
            delay = max(0.0, at - time.monotonic())
            self._wake = self._loop.call_later(delay, self._inbox.put, Tick())

    def close(self) -> None:
        """Tick no more."""
        self._regular.cancel()
        if self._wake is not None:
            self._wake.cancel()

    def _tick(self) -> None:
        # Finds the exits that send us no SIGCHLD (as a guest, or without pidfds).
        self._reaper.sweep()
        # Before the tick, which counts a worker as silent whose messages were not read until it.
        self._driver.catch_up()
        self._inbox.put(Tick(regular=True))
        self._regular = self._loop.call_later(TICK_SECONDS, self._tick)


def _pool_size(config: SupervisorConfig) -> str:
    bounds = config.bounds
    workers = pluralize(bounds.least, "worker")
    return workers if bounds.least == bounds.most else f"{workers}, at most {bounds.most},"


def worker_settings(config: SupervisorConfig, url: str) -> WorkerSettings:
    """The settings of each worker; `url` is the one to connect to."""
    return WorkerSettings(
        docket=config.docket,
        url=url,
        display_url=config.display_url,
        concurrency=config.concurrency,
        redelivery_timeout_seconds=config.redelivery_timeout.total_seconds(),
        reconnection_delay_seconds=config.reconnection_delay.total_seconds(),
        minimum_check_interval_seconds=config.minimum_check_interval.total_seconds(),
        scheduling_resolution_seconds=config.scheduling_resolution.total_seconds(),
        schedule_automatic_tasks=config.schedule_automatic_tasks,
        fallback_task=config.fallback_task,
        dependencies=config.dependencies,
        message_batch=config.message_batch,
        heartbeat_seconds=HEARTBEAT_SECONDS,
        stall_timeout_seconds=config.stall_timeout.total_seconds(),
        max_deliveries=config.max_deliveries,
        logging_level=config.logging_level,
        logging_format=log_setup.chosen_format(config.logging_format),
        drain_timeout_seconds=config.drain_timeout.total_seconds(),
        serializer=config.serializer,
        execution_ttl_seconds=_seconds(config.execution_ttl),
        keep_failed_seconds=_seconds(config.keep_failed),
        keep_failed_most=config.keep_failed_most,
        heartbeat_interval_seconds=_seconds(config.heartbeat_interval),
        missed_heartbeats=config.missed_heartbeats,
        docket_factory=config.docket_factory,
    )


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()
