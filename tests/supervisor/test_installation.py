"""Whether the program can run as it is installed: on this system, with our package docket."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor import installation

ROOT = Path(__file__).parent.parent.parent


def test_nothing_stands_in_the_way_here() -> None:
    assert installation.obstacle() is None


@pytest.mark.parametrize(
    "left", [None, "", '"""Another docket."""\n'], ids=["nothing", "a folder", "another's"]
)
def test_the_program_refuses_to_run_without_our_package_docket(
    tmp_path: Path, left: str | None
) -> None:
    for package in ("supervisor", "ipc"):
        tmp_path.joinpath(package).symlink_to(ROOT / package)
    if left is not None:
        tmp_path.joinpath("docket").mkdir()
        if left:
            tmp_path.joinpath("docket/__init__.py").write_text(left)
    # Without the packages of the environment, which may have ours.
    done = subprocess.run(
        [sys.executable, "-S", "-c", "from supervisor.cli.program import main; main()"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "docket-supervisor: its package docket is missing, or overwritten"
    )
    assert "pip uninstall --yes pydocket && python -m pip install --force-reinstall" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", installation.POSIX_MODULES)
def test_a_system_without_a_module_of_posix_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert installation.obstacle() == (
        f"needs a POSIX system (Linux, macOS): this Python has no {name}"
    )
