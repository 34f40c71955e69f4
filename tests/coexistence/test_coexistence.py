"""Ours and supervisord's package share the folder `supervisor`: installed together, both run.

Each order of installation gets a virtual environment of its own, filled from a wheel as a user's
is. The environment in which this runs needs pip and nothing of ours.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import pool

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
    program = str(scripts / "docket-supervisor")
    command = [program, "--processes", "1", "--url", "memory://coexistence"]
    with pool.ready_pool(command, tmp_path, pool.plain_environment()) as process:
        assert process.poll() is None
    assert process.returncode == 0


def test_the_demo_runs_in_the_folder_of_a_clone(scripts: Path) -> None:
    """Where the README has it started: beside folders named like the installed packages."""
    printed = _run(str(scripts / "docket-supervisor"), "demo", "ipc", "--no-kill", folder=ROOT)
    assert "exactly once" in printed


def test_supervisord_starts_its_program_and_ends_it(scripts: Path, tmp_path: Path) -> None:
    configuration = tmp_path / "supervisord.conf"
    configuration.write_text(
        SUPERVISORD_CONF.format(folder=tmp_path, python=scripts / "python"), "utf-8"
    )
    command = [str(scripts / "supervisord"), "-c", str(configuration)]
    with pool.running(command, tmp_path, pool.plain_environment()) as supervisord:
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
    assert _run(str(scripts / "python"), "-c", program).strip() == "[] True 4"


def _run(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=pool.plain_environment(),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def _read_until(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        seen.append(line)
        if wanted in line:
            return
    pytest.fail(f"it ended without {wanted!r}: {''.join(seen)}")
