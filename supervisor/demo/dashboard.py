"""The dashboard of the demo, in a thread of its own."""

import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

from docket import Docket
from docket.cli.web_options import dashboard
from supervisor.dashboard.socket_pool import SocketPool

#: The time for which its end is waited for, in seconds.
_END_SECONDS = 5.0


class DemoDashboard:
    """A dashboard on loopback, with a control socket for the pool of the demo.

    Raises:
        click.UsageError: the extra is not installed.
    """

    def __init__(self) -> None:
        self._server_module = dashboard()
        self._folder = Path(tempfile.mkdtemp(prefix="docket-demo-"))
        #: The path of the control socket that the pool is to have.
        self.control = str(self._folder / "control.sock")
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def start(self, docket: str, url: str) -> str:
        """Show a docket; return the address of the dashboard."""
        module = self._server_module
        access = module.Access()
        try:
            listener = module.listening(access)
        except ValueError:  # Somebody else has the usual port.
            access = module.Access(port=0)
            listener = module.listening(access)
        pool = SocketPool(Path(self.control), docket)
        self._server = module.server_of([Docket(docket, url)], access, pool)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="dashboard", daemon=True
        )
        self._thread.start()
        return module.address_of(listener, access)

    def stop(self) -> None:
        """End the dashboard, before the server that it shows ends. Twice is fine."""
        if self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_END_SECONDS)
            self._thread = None

    def close(self) -> None:
        """End the dashboard, and remove its files."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
