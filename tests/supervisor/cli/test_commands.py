"""The command line: its default command, its one-line errors, its lazy commands."""

import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner

from supervisor.cli import commands, program
from supervisor.config import SupervisorConfig
from supervisor.errors import AddressInUse, BootFailure, SupervisorError
from supervisor.signals import SignalQueue


class FakeRun:
    """Stands in for the run of a pool; notes its config, and ends as told."""

    ends_with: int | SupervisorError = 0
    config: SupervisorConfig | None = None

    def __init__(self, config: SupervisorConfig, signal_queue: SignalQueue | None) -> None:
        FakeRun.config = config

    def run(self) -> int:
        if isinstance(self.ends_with, SupervisorError):
            raise self.ends_with
        return self.ends_with


@pytest.fixture(autouse=True)
def fake_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.supervisor.Supervisor", FakeRun)
    monkeypatch.setattr(FakeRun, "config", None)
    for name in ("DOCKET_NAME", "DOCKET_URL", "DOCKET_TASKS"):
        monkeypatch.delenv(name, raising=False)


def end_of(arguments: list[str]) -> int | str | None:
    signal_queue = SignalQueue()
    try:
        with pytest.raises(SystemExit) as end:
            commands.main(signal_queue, arguments)
        return end.value.code
    finally:
        signal_queue.close()


@pytest.mark.parametrize("arguments", [[], ["run"]])
def test_run_is_the_default_command(arguments: list[str]) -> None:
    assert end_of(arguments) == 0
    assert FakeRun.config == SupervisorConfig()


def test_options_need_no_command_before_them() -> None:
    words = ["--processes", "3", "--no-preload", "--tasks", "a:b", "--tasks", "c:d"]
    assert end_of(words) == 0
    assert FakeRun.config == SupervisorConfig(processes=3, preload=False, tasks=("a:b", "c:d"))


def test_the_exit_code_is_that_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeRun, "ends_with", 4)
    assert end_of([]) == 4


@pytest.mark.parametrize(
    ("error", "code"),
    [(AddressInUse("the port is taken"), 3), (BootFailure("there\nis\nno server"), 3)],
)
def test_an_error_of_ours_is_one_line_and_its_own_code(
    error: SupervisorError,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(FakeRun, "ends_with", error)
    assert end_of([]) == code
    assert capsys.readouterr().err == f"docket-supervisor: {' '.join(str(error).split())}\n"


@pytest.mark.parametrize("arguments", [["--speed"], ["run", "extra"], ["--processes"]])
def test_wrong_arguments_are_one_line_and_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_config_file_is_read_by_option_or_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pool.toml"
    file.write_text("processes = 7")
    assert end_of(["--config", str(file)]) == 0
    assert FakeRun.config == SupervisorConfig(processes=7)
    monkeypatch.setenv("DOCKET_SUPERVISOR_CONFIG", str(file))
    assert end_of([]) == 0
    assert FakeRun.config == SupervisorConfig(processes=7)


def test_help_lists_the_commands_without_importing_them() -> None:
    result = CliRunner().invoke(commands.docket_supervisor, ["--help"])
    assert result.exit_code == 0
    assert "demo" in result.output
    assert "run" in result.output


def help_of_run() -> str:
    result = CliRunner().invoke(commands.docket_supervisor, ["run", "--help"])
    assert result.exit_code == 0
    return result.output


def test_help_of_run_lists_every_option() -> None:
    text = help_of_run()
    assert "--stall-timeout DURATION" in text
    assert "DOCKET_SUPERVISOR_HTTP" in text


@pytest.mark.parametrize(
    ("option", "default"),
    [
        ("--drain-timeout", "30s"),
        ("--redelivery-timeout", "5m"),
        ("--minimum-check-interval", "250ms"),
        ("--concurrency", "10"),
        ("--recycle-jitter", "10%"),
        ("--tasks", "docket.tasks:standard_tasks"),
        ("--preload", "on"),
    ],
)
def test_help_of_run_shows_the_default_of_an_option(option: str, default: str) -> None:
    words = " ".join(
        CliRunner().invoke(commands.docket_supervisor, ["run", "--help"]).output.split()
    )
    assert f"[default: {default}]" in words.partition(f"{option} ")[2].partition("(also")[0]


def test_help_of_run_shows_no_default_where_there_is_none() -> None:
    words = " ".join(
        CliRunner().invoke(commands.docket_supervisor, ["run", "--help"]).output.split()
    )
    assert "[default" not in words.partition("--max-rss ")[2].partition("(also")[0]


def test_an_unknown_command_is_reported_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert end_of(["stauts"]) == 2
    assert capsys.readouterr().err.startswith("docket-supervisor: No such command 'stauts'")


def test_a_lazy_command_is_imported_when_it_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module: Any = ModuleType("supervisor.demo.command")
    module.demo = click.Command("demo", callback=lambda: 1)
    monkeypatch.setitem(sys.modules, "supervisor.demo.command", module)
    assert end_of(["demo"]) == 1


def test_an_interruption_is_a_clean_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: FakeRun) -> int:
        raise click.Abort

    monkeypatch.setattr(FakeRun, "run", interrupt)
    assert end_of([]) == 0


def test_the_program_has_its_handlers_before_its_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    installed: list[bool] = []

    class Commands:
        @staticmethod
        def main(signal_queue: SignalQueue) -> None:
            installed.append(signal.getsignal(signal.SIGTERM) is not before)
            signal_queue.close()

    monkeypatch.setitem(sys.modules, "supervisor.cli.commands", Commands)  # type: ignore[arg-type]
    program.main()
    assert installed == [True]
