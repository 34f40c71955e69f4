"""The control socket: what `docket-supervisor ctl` speaks to, on the supervisor's own loop.

It decides nothing. An order goes into the pool's one inbox like a signal does, and is answered
when the pool answers it; only the report is made here. Whatever a client does wrong costs that
client its connection, and nobody anything else.
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
from supervisor.control.session import Session
from supervisor.errors import NoPlace
from supervisor.inbox import Inbox
from supervisor.pool.state import pool_commands
from supervisor.pool.state.inbox_events import CommandReceived
from supervisor.pool.state.pool_commands import Command, Outcome, discard

log = logging.getLogger("supervisor.control")

MAX_CLIENTS = 32
#: Faults of one kind are logged this often at most: a broken script may try again all day.
FAULT_LOG_SECONDS = 60.0
#: How long the end of the pool waits for clients to have their last answers.
GOODBYE_SECONDS = 1.0


@contextlib.asynccontextmanager
async def placed(config: SupervisorConfig) -> AsyncGenerator[SocketClaim | None]:
    """Hold the place of this config's control socket for as long as the block runs.

    None for a pool that was told no path, on a system where nothing can be written: it runs
    without one.

    Raises:
        ConfigurationError: the place cannot be used; ControlInUse: a live supervisor has it.
    """
    try:
        place = await _claim(config)
    except NoPlace as error:
        log.warning("no control socket, so `ctl` cannot reach this pool: %s", error)
        yield None
        return
    try:
        yield place
    finally:
        place.leave()


@contextlib.asynccontextmanager
async def serving(
    place: SocketClaim | None, inbox: Inbox, report: Callable[[], dict[str, Any]], *, guest: bool
) -> AsyncGenerator[None]:
    """Serve the control socket, if there is one, for as long as the block runs.

    Arguments: those of `Control`.
    """
    if place is None:
        yield
        return
    served = ControlServer(place, inbox, report, guest=guest)
    await served.start()
    try:
        yield
    finally:
        await served.stop()


async def _claim(config: SupervisorConfig) -> SocketClaim:
    if config.control is not None:
        return await claim_given(config.control)
    return await claim_default(config.docket, os.environ)


class ControlServer:
    """Serves one place from `start` until `stop`.

    Arguments:
        place: ours until its owner leaves it.
        inbox: of the pool.
        report: makes what /status says.
        guest: whether this process goes on after the pool.
    """

    def __init__(
        self, place: SocketClaim, inbox: Inbox, report: Callable[[], dict[str, Any]], *, guest: bool
    ) -> None:
        self._place = place
        self._inbox = inbox
        self._report = report
        self._hello = ControlHello(PROTOCOL, os.getpid(), guest)
        self._server: asyncio.AbstractServer | None = None
        self._peers: set[Session] = set()
        self._none_left = asyncio.Event()
        self._none_left.set()
        self._faults = LogThrottle(FAULT_LOG_SECONDS)

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: Session(self, self._hello), sock=self._place.socket
        )
        log.info("control socket: %s", self._place.path)

    async def stop(self) -> None:
        """Take no more clients, end the others after what they were told. Twice is fine."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for peer in list(self._peers):
            peer.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._none_left.wait()
        for peer in list(self._peers):
            peer.abort()
        await self._none_left.wait()
        await server.wait_closed()

    # What clients tell (supervisor.control_peer.Host).

    def objection_to(self, who: Credentials) -> str | None:
        """Why this user is not served; None: it is."""
        return None if who.is_trusted else "only the user of the supervisor and root are served"

    def admit(self, peer: Session) -> bool:
        """Count it among the clients, unless there are too many."""
        if self._server is None or len(self._peers) >= MAX_CLIENTS:
            return False
        self._peers.add(peer)
        self._none_left.clear()
        return True

    def gone(self, peer: Session) -> None:
        """It is a client no more."""
        self._peers.discard(peer)
        if not self._peers:
            self._none_left.set()

    def asked(self, peer: Session, request: Request) -> None:
        """Answer at once, or hand the order on and answer when the pool does."""
        match request:
            case control.StatusRequest():
                peer.answer(self._make_report())
            case control.ScaleRequest(processes):
                self._order(peer, pool_commands.Scale(processes))
            case control.RestartRequest(slot):
                self._order(peer, pool_commands.Restart(slot))
            case control.DumpRequest():
                self._order(peer, pool_commands.DumpAll())
            case control.DrainRequest(wait):
                self._order(peer, pool_commands.Drain(), stay=wait)
            case control.ReloadRequest(wait=True):
                self._order(peer, pool_commands.Reload())
            case control.ReloadRequest():
                self._inbox.put(CommandReceived(pool_commands.Reload(), discard))
                peer.answer(control.Done("the reload has been asked for; see the status"))

    def dropped(self, kind: str, why: str) -> None:
        """Log it, but not every one of a flood."""
        before = self._faults.unsaid(kind, time.monotonic())
        if before is None:
            return
        more = f" (and {before} before, like this one)" if before else ""
        log.warning("control socket: %s%s", why, more)

    def _order(self, peer: Session, order: Command, *, stay: bool = False) -> None:
        def answer(outcome: Outcome) -> None:
            done = isinstance(outcome, pool_commands.Done)
            peer.answer(_told(outcome), stay=stay and done)

        self._inbox.put(CommandReceived(order, answer))

    def _make_report(self) -> Answer:
        try:
            return Report(json.dumps(self._report()))
        except Exception:
            log.exception("the status could not be told")
            return Refused("a bug of the supervisor; see its log")


def _told(outcome: Outcome) -> Answer:
    match outcome:
        case pool_commands.Done(text):
            return control.Done(text)
        case pool_commands.Refused(text):
            return Refused(text)


class LogThrottle:
    """Decides which of many like events are worth a line (pure: the caller brings the times)."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def unsaid(self, kind: str, now: float) -> int | None:
        """None: say nothing of this one. Else say it, and how many of its kind were not said."""
        said = self._said.get(kind)
        if said is not None and now - said < self._seconds:
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return None
        self._said[kind] = now
        return self._unsaid.pop(kind, 0)
