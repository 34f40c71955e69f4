"""An empty string is no setting: of options, of environment variables, of `Worker.run`."""

from collections.abc import Iterator

import click
import pytest

from docket import Docket
from docket.cli.program import main
from docket.worker import Worker
from tests.support import cli_tasks
from tests.support.dockets import result_of, soon
from tests.support.programs import run_docket, run_docket_process

pytestmark = [pytest.mark.anyio, pytest.mark.statement(7)]


def commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield from commands(command) if isinstance(command, click.Group) else [command]


def arguments_of(command: click.Command) -> list[str]:
    """What it cannot do without."""
    return [
        "a-value"
        for parameter in command.params
        if isinstance(parameter, click.Argument) and parameter.required
    ]


def read(command: click.Command, *arguments: str) -> dict[str, object]:
    """What the command would be called with."""
    return command.make_context("docket", [*arguments, *arguments_of(command)]).params


TEXT_OPTIONS = [
    (command, parameter)
    for command in commands(main)
    for parameter in command.params
    if isinstance(parameter, click.Option)
    and not parameter.is_flag
    # One that is asked for (a password) has no value of its own without it.
    and not parameter.prompt
]
OPTIONS_WITH_A_VARIABLE = [
    (command, parameter)
    for command in commands(main)
    for parameter in command.params
    if isinstance(parameter, click.Option) and parameter.envvar
]


def test_there_are_options_and_variables_to_test() -> None:
    assert {"--docket", "--name", "--dependencies", "--delay", "--tasks", "--logging-format"} <= {
        name for _, option in TEXT_OPTIONS for name in option.opts
    }
    assert len(OPTIONS_WITH_A_VARIABLE) >= 40


@pytest.mark.parametrize(
    ("command", "option"), TEXT_OPTIONS, ids=lambda each: str(getattr(each, "name", each))
)
def test_an_empty_option_is_as_none(command: click.Command, option: click.Option) -> None:
    for name in option.opts:
        assert read(command, name, "") == read(command)


@pytest.mark.parametrize(
    ("command", "option"),
    OPTIONS_WITH_A_VARIABLE,
    ids=lambda each: str(getattr(each, "name", each)),
)
def test_an_empty_variable_is_as_none(
    command: click.Command, option: click.Option, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = read(command)
    variables = [option.envvar] if isinstance(option.envvar, str) else option.envvar
    assert variables
    for variable in variables:
        monkeypatch.setenv(variable, "")

    assert read(command) == without


def test_an_empty_option_leaves_it_to_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKET_NAME", "from-environment")
    monkeypatch.setenv("DOCKET_TASKS", "a:b c:d")

    settings = read(main.commands["worker"], "--docket", "", "--tasks", "")

    assert settings["docket_name"] == "from-environment"
    assert settings["tasks"] == ("a:b", "c:d")


def test_of_several_values_the_empty_ones_are_left_out() -> None:
    settings = read(main.commands["worker"], "--tasks", "", "--tasks", "a:b", "--tasks", "")

    assert settings["tasks"] == ("a:b",)


async def test_a_command_goes_by_its_defaults(docket: Docket, server: str) -> None:
    code, output, errors = await run_docket(
        *("clear", "--docket", "", "--url", ""),
        env={"DOCKET_NAME": docket.name, "DOCKET_URL": server},
    )

    assert (code, output, errors) == (0, f"Cleared 0 tasks from docket {docket.name!r}\n", "")


async def test_the_program_runs_tasks_with_settings_that_are_empty(
    docket: Docket, server: str
) -> None:
    execution = await docket.add("trace")("Howdy!")
    options = [
        *("--name", "", "--fallback-task", "", "--dependencies", "", "--tasks", ""),
        *("--concurrency", "", "--redelivery-timeout", "", "--healthcheck-port", ""),
        *("--logging-level", "", "--logging-format", ""),
    ]

    await soon(
        Worker.run(
            docket.name,
            server,
            name="",
            fallback_task="",
            dependencies="",
            tasks=[""],
            until_finished=True,
        )
    )
    code, _, _ = await run_docket_process(
        *("worker", "--docket", docket.name, "--url", server, "--until-finished", *options)
    )

    assert await result_of(execution) is None
    assert code == 0


async def test_a_worker_has_its_usual_name_and_no_dependencies(docket: Docket) -> None:
    worker, usual = Worker(docket, name="", dependencies=""), Worker(docket)

    assert (worker.name, worker.dependencies) == (usual.name, {})


async def test_an_unnamed_docket_on_no_url_is_the_default_one(
    monkeypatch: pytest.MonkeyPatch, server: str, docket_name: str
) -> None:
    made: list[tuple[str, str]] = []

    class Noted(Docket):
        def __init__(self, name: str, url: str, **_: object) -> None:
            made.append((name, url))
            super().__init__(docket_name, server)

    monkeypatch.setattr("docket.worker.Docket", Noted)
    await soon(Worker.run("", "", until_finished=True))

    assert made == [("docket", "redis://localhost:6379/0")]


async def test_unknown_tasks_are_left_to_the_worker_if_the_fallback_is_empty(
    docket: Docket, server: str
) -> None:
    docket.register(cli_tasks.anything, names=["unheard of"])
    execution = await docket.add("unheard of")()

    await soon(Worker.run(docket.name, server, fallback_task="", until_finished=True))

    await execution.sync()
    assert execution.completed_at is not None
