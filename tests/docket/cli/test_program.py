"""The program `docket`, and what of it needs no server."""

import asyncio
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
from click.testing import CliRunner

from docket.cli import main
from docket.services.standalone import Signals
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


async def test_each_signal_is_more_urgent_than_the_one_before() -> None:
    class Drained:
        def __init__(self) -> None:
            self.deadlines: list[float | None] = []

        def drain(self, deadline_seconds: float | None = None) -> None:
            self.deadlines.append(deadline_seconds)

    worker: Any = Drained()

    async def hung() -> None:
        signals = Signals(worker)
        signals.stop()
        signals.stop()
        assert worker.deadlines == [None, 0.0]
        signals.stop()
        await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(hung())
    assert worker.deadlines == [None, 0.0]
