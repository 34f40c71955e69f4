"""Serving the dashboard by itself, on an address of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
import threading
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from docket.docket import Docket
from docket.pool_control import PoolControl
from docket.web.application import app
from docket.web.authorization import Authorize, BasicUsers, TrustedHeader, is_loopback
from docket.web.connection_bounds import ConnectionBounds

logger = logging.getLogger("docket.web")

#: The time for requests that are being answered at the end, in seconds: streams have no end.
_GRACE_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Access:
    """The address of a dashboard, and those who may use it.

    Attributes:
        host, port: its address; port 0 takes a free one.
        authorize: decides who may do what; None: this machine only, and everything.
        read_only: nobody may do anything but look.
        root_path: the path that a proxy takes away.
        origins: origins under which it is reached, besides that of the Host header.
    """

    host: str = "127.0.0.1"
    port: int = 8790
    authorize: Authorize | None = None
    read_only: bool = False
    root_path: str = ""
    origins: tuple[str, ...] = ()


class DashboardServer(uvicorn.Server):
    """A server that ends with SIGINT or SIGTERM, and raises neither of them again after its end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Handle the signals while the block runs, in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def access_of(
    *,
    load_authorize: Callable[[str], Authorize],
    bind: str,
    read_only: bool,
    users: str | None,
    trust_header: str | None,
    trust_proxy: Collection[str],
    authorize: str | None,
    root_path: str,
    origins: Sequence[str],
) -> Access:
    """Read the options of a dashboard.

    Raises:
        ValueError: one of them cannot be used, or it would be open to other machines.
    """
    host, port = _address(bind)
    ways = [way for way in (users, trust_header, authorize) if way]
    if len(ways) > 1:
        raise ValueError("Give one of --users, --trust-header and --authorize")
    if not ways and not is_loopback(host):
        raise ValueError(
            f"--bind {bind}: without authentication the dashboard listens on loopback only, since "
            "whoever reaches it may cancel tasks. Say who may use it: --users FILE, --trust-header "
            "NAME or --authorize MODULE:CALLABLE"
        )
    chosen: Authorize | None = None
    if users:
        chosen = BasicUsers.of_file(Path(users))
    elif trust_header:
        chosen = TrustedHeader(trust_header, trust_proxy)
    elif authorize:
        chosen = load_authorize(authorize)
    if root_path and not root_path.startswith("/"):
        raise ValueError(f"--root-path begins with a slash, and {root_path!r} does not")
    return Access(host, port, chosen, read_only, root_path.rstrip("/"), tuple(origins))


def serve(
    dockets: Sequence[Docket],
    access: Access,
    listener: socket.socket,
    pool: PoolControl | None = None,
) -> None:
    """Serve the dashboard of some dockets until a signal; closes the listener."""
    logger.info("The dashboard is at %s", address_of(listener, access))
    with listener:
        server_of(dockets, access, pool).run([listener])


def listening(access: Access) -> socket.socket:
    """Listen on the address of a dashboard.

    Raises:
        ValueError: it cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in access.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((access.host, access.port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        where = f"{access.host}:{access.port}"
        raise ValueError(f"The dashboard cannot listen on {where}: {error.strerror}") from error
    return listener


def address_of(listener: socket.socket, access: Access) -> str:
    """Return the URL of a dashboard that listens."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}{access.root_path}/"


def server_of(
    dockets: Sequence[Docket], access: Access, pool: PoolControl | None = None
) -> DashboardServer:
    """Make the server of a dashboard."""
    made = app(
        *dockets,
        authorize=access.authorize,
        read_only=access.read_only,
        origins=access.origins,
        pool=pool,
    )
    settings: dict[str, Any] = {
        "log_config": None,
        # Not its warnings: a client that asks for nothing could cause any number of them.
        "log_level": "error",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,  # The address of a client is that of its connection.
        "http": ConnectionBounds().protocol,
        "ws": "none",
        "root_path": access.root_path,
        "timeout_graceful_shutdown": _GRACE_SECONDS,
    }
    return DashboardServer(uvicorn.Config(made, **settings))


def _address(bind: str) -> tuple[str, int]:
    host, colon, port = bind.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"--bind {bind!r} is not of the form HOST:PORT")
    if host == "localhost":
        return "127.0.0.1", int(port)
    try:
        return str(ipaddress.ip_address(host)), int(port)
    except ValueError:
        raise ValueError(
            f"--bind {bind!r}: the host is an address, such as 127.0.0.1, ::1 or 0.0.0.0"
        ) from None
