"""A Prefect server on ours: what its docket does to a flow run, seen through its API."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from stress.ports import free_ports
from tests.support.servers import PATIENCE_SECONDS, until

pytest.importorskip("prefect", reason="`tox -e clients` installs it")

pytestmark = pytest.mark.timeout(240)

#: The answer while its SQLite is locked: a client is to try again.
UNAVAILABLE = 503
ATTEMPTS = 20
#: Its database is made anew, in more than a hundred steps.
BOOT_SECONDS = 120.0

ROOT = Path(__file__).parent.parent.parent


class PrefectServer:
    """A server of its own, in a process of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, port: int) -> None:
        self.process = process
        self._log = log
        self._api = f"http://127.0.0.1:{port}/api"

    @property
    def said(self) -> str:
        return self._log.read_text()

    def answers(self) -> bool:
        assert self.process.poll() is None, self.said
        with contextlib.suppress(OSError):
            return bool(self.call("GET", "/health"))
        return False

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self._api + path, data, headers, method=method)
        for _ in range(ATTEMPTS):
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    text = answer.read()
                return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                if error.code != UNAVAILABLE:
                    raise
        raise AssertionError(f"{method} {path}: {self.said}")

    def state_of(self, run: str) -> str:
        return self.call("GET", f"/flow_runs/{run}")["state"]["type"]


@contextlib.contextmanager
def prefect_server(url: str, folder: Path) -> Iterator[PrefectServer]:
    (port,) = free_ports(1)
    log = folder / "server.log"
    settings = {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/prefect.db",
        "PREFECT_SERVER_DOCKET_URL": url,
        "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS": "1",
        "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = PrefectServer(process, log, port)
    try:
        give_up = time.monotonic() + BOOT_SECONDS
        while not server.answers():
            assert time.monotonic() < give_up, server.said
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.2)
        yield server
        process.terminate()
        process.wait(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()


def new_run(server: PrefectServer, **more: Any) -> str:
    flow = server.call("POST", "/flows/", {"name": "f"})["id"]
    return server.call("POST", "/flow_runs/", {"flow_id": flow, **more})["id"]


def set_state(server: PrefectServer, run: str, state: str) -> None:
    body = {"state": {"type": state}, "force": True}
    server.call("POST", f"/flow_runs/{run}/set_state", body)


def test_a_run_is_cancelled_by_the_docket_of_the_server_and_its_parts_with_it(
    url: str, tmp_path: Path
) -> None:
    """One that does not end by itself, when its time is over; one within it, with it."""
    assert version("prefect") == "3.9.1"
    with prefect_server(url, tmp_path) as server:
        run = new_run(server)
        set_state(server, run, "RUNNING")
        task = {"flow_run_id": run, "task_key": "t", "dynamic_key": "0"}
        part = server.call("POST", "/task_runs/", task)["id"]
        subflow = new_run(server, parent_task_run_id=part)
        set_state(server, subflow, "RUNNING")

        set_state(server, run, "CANCELLING")
        until(lambda: server.state_of(run) == "CANCELLED", "the run to be cancelled")
        until(lambda: server.state_of(subflow) == "CANCELLED", "the subflow to be cancelled")
        until(
            lambda: server.call("GET", f"/task_runs/{part}")["state_type"] == "CANCELLED",
            "the task to be cancelled",
        )
    # Prefect logs what its docket refuses, and goes on without. (SQLite may be locked meanwhile.)
    assert "Failed to schedule" not in server.said, server.said
    assert server.process.returncode in (0, -signal.SIGTERM), server.said
