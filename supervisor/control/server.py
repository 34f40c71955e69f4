"""The server of the control socket, for `docket-supervisor ctl`, on the supervisor's own loop.

It decides nothing. A command goes into the inbox of the pool, like a signal, and is answered when
the pool answers it; only the report is made here. A client that breaks the protocol loses its
connection, and no other client is affected.
"""

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

from ipc import control
from ipc.control import PROTOCOL, Answer, ControlHello, Refused, Report, Request
from supervisor.config import SupervisorConfig
from supervisor.control.claim import SocketClaim, claim_default, claim_given
from supervisor.control.peer_credentials import Credentials
from supervisor.control.session import Session, SessionFault
from supervisor.errors import NoPlace
from supervisor.inbox import Inbox
from supervisor.pool.state import pool_commands
from supervisor.pool.state.inbox_events import CommandReceived
from supervisor.pool.state.pool_commands import Command, Outcome, discard
from supervisor.process_range import ProcessRange

log = logging.getLogger("supervisor.control")

MAX_CLIENTS = 32
#: Faults of one kind are logged this often at most: a broken script may try again all day.
FAULT_LOG_SECONDS = 60.0
#: The time that the end of the pool waits for clients to read their last answers.
GOODBYE_SECONDS = 1.0


@contextlib.asynccontextmanager
async def claimed(config: SupervisorConfig) -> AsyncGenerator[SocketClaim | None]:
    """Hold the path of this config's control socket for as long as the block runs.

    None if no path is given and none of the usual folders can be written to: such a pool runs
    without a control socket.

    Raises:
        ConfigurationError: the path cannot be used; ControlInUse: a live supervisor has it.
    """
    try:
        claim = await _claim(config)
    except NoPlace as error:
        log.warning("no control socket, so `ctl` cannot reach this pool: %s", error)
        yield None
        return
    try:
        yield claim
    finally:
        claim.release()


@contextlib.asynccontextmanager
async def serving(
    claim: SocketClaim | None, inbox: Inbox, report: Callable[[], dict[str, Any]], *, guest: bool
) -> AsyncGenerator[None]:
    """Serve the control socket, if there is one, for as long as the block runs.

    The arguments are those of `ControlServer`.
    """
    if claim is None:
        yield
        return
    server = ControlServer(claim, inbox, report, guest=guest)
    await server.start()
    try:
        yield
    finally:
        await server.stop()


async def _claim(config: SupervisorConfig) -> SocketClaim:
    if config.control is not None:
        return await claim_given(config.control)
    return await claim_default(config.docket, os.environ)


class ControlServer:
    """Serve one control socket from `start` until `stop`.

    Arguments:
        claim: of the socket; its owner releases it after `stop`.
        inbox: of the pool.
        report: makes the report of /status.
        guest: this process goes on after the pool.
    """

    def __init__(
        self, claim: SocketClaim, inbox: Inbox, report: Callable[[], dict[str, Any]], *, guest: bool
    ) -> None:
        self._socket_claim = claim
        self._inbox = inbox
        self._report = report
        self._hello = ControlHello(PROTOCOL, os.getpid(), guest)
        self._server: asyncio.AbstractServer | None = None
        self._sessions: set[Session] = set()
        self._none_left = asyncio.Event()
        self._none_left.set()
        self._faults = LogThrottle(FAULT_LOG_SECONDS)

    async def start(self) -> None:
        """Start to listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: Session(self, self._hello), sock=self._socket_claim.socket
        )
        log.info("control socket: %s", self._socket_claim.path)

    async def stop(self) -> None:
        """Accept no more clients, and disconnect those there are after their answers.

        Twice is fine.
        """
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for session in list(self._sessions):
            session.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._none_left.wait()
        for session in list(self._sessions):
            session.abort()
        await self._none_left.wait()
        await server.wait_closed()

    # Calls of the sessions (session.SessionHost).

    def refusal_of(self, client: Credentials) -> str | None:
        """Give the reason if this user is not served; None: it is."""
        return None if client.is_trusted else "only the user of the supervisor and root are served"

    def admit(self, session: Session) -> bool:
        """Add it to the clients, unless there are too many."""
        if self._server is None or len(self._sessions) >= MAX_CLIENTS:
            return False
        self._sessions.add(session)
        self._none_left.clear()
        return True

    def forget(self, session: Session) -> None:
        """Remove it from the clients: its connection has ended."""
        self._sessions.discard(session)
        if not self._sessions:
            self._none_left.set()

    def handle(self, session: Session, request: Request) -> None:
        """Answer at once, or pass the command on and answer when the pool does."""
        match request:
            case control.StatusRequest():
                session.answer(self._make_report())
            case control.ScaleRequest(processes):
                self._command(session, pool_commands.Scale(processes))
            case control.ScaleBetweenRequest(least, most):
                command = pool_commands.ScaleBetween(ProcessRange(least, most))
                self._command(session, command)
            case control.RestartRequest(slot):
                self._command(session, pool_commands.Restart(slot))
            case control.DumpRequest():
                self._command(session, pool_commands.DumpAll())
            case control.DrainRequest(wait):
                self._command(session, pool_commands.Drain(), stay=wait)
            case control.ReloadRequest(wait=True):
                self._command(session, pool_commands.Reload())
            case control.ReloadRequest():
                self._inbox.put(CommandReceived(pool_commands.Reload(), discard))
                session.answer(control.Done("the reload has been asked for; see the status"))

    def report_fault(self, fault: SessionFault, description: str) -> None:
        """Log that a client was disconnected for a fault, but not every one of a flood."""
        skipped = self._faults.skipped_before(fault, time.monotonic())
        if skipped is None:
            return
        more = f" (and {skipped} before, like this one)" if skipped else ""
        log.warning("control socket: %s%s", description, more)

    def _command(self, session: Session, command: Command, *, stay: bool = False) -> None:
        def answer(outcome: Outcome) -> None:
            done = isinstance(outcome, pool_commands.Done)
            session.answer(_answer_of(outcome), stay=stay and done)

        self._inbox.put(CommandReceived(command, answer))

    def _make_report(self) -> Answer:
        try:
            return Report(json.dumps(self._report()))
        except Exception:
            log.exception("the status could not be told")
            return Refused("a bug of the supervisor; see its log")


def _answer_of(outcome: Outcome) -> Answer:
    match outcome:
        case pool_commands.Done(text):
            return control.Done(text)
        case pool_commands.Refused(text):
            return Refused(text)


class LogThrottle:
    """Limit the log lines about events of one kind (pure: the caller gives the times)."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._logged_at: dict[str, float] = {}
        self._skipped: dict[str, int] = {}

    def skipped_before(self, kind: str, now: float) -> int | None:
        """Count those skipped since the last one that was logged; None: skip this one too."""
        logged_at = self._logged_at.get(kind)
        if logged_at is not None and now - logged_at < self._seconds:
            self._skipped[kind] = self._skipped.get(kind, 0) + 1
            return None
        self._logged_at[kind] = now
        return self._skipped.pop(kind, 0)
