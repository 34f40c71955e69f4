"""The program `docket`, and what of it needs no server."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest
from click.testing import CliRunner

from docket.cli import main


def test_version_prints_the_installed_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docket.cli.version.installed_version", lambda name: f"1.2.3 of {name}")

    result = CliRunner().invoke(main, ["version"])

    assert (result.exit_code, result.output) == (0, "1.2.3 of docket-supervisor\n")


def test_version_of_a_source_tree_says_that_it_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("docket.cli.version.installed_version", missing)

    result = CliRunner().invoke(main, ["version"])

    assert result.exit_code == 1
    assert "Error: docket-supervisor is not installed" in result.output


def test_the_module_runs_the_program() -> None:
    # Not one of `run_docket_process`, which are forks of one that has imported it.
    output = subprocess.check_output([sys.executable, "-m", "docket", "--help"], text=True)

    assert "version" in output
    assert "worker" in output
