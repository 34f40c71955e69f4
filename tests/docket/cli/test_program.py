"""The program `docket`, and what of it needs no server."""

from importlib.metadata import PackageNotFoundError

import pytest
from click.testing import CliRunner

from docket.cli import main
from tests.support.programs import run_docket_process

pytestmark = pytest.mark.anyio


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


async def test_the_module_runs_the_program() -> None:
    code, output, _ = await run_docket_process("--help")

    assert code == 0
    assert "version" in output
    assert "worker" in output
