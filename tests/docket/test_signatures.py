"""What users call is what was documented: names, arguments, their order, kinds and defaults."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, get_type_hints

import click
import pytest

from docket.cli.program import main
from docket.dependencies import (
    ConcurrencyLimit,
    Dependency,
    Perpetual,
    Progress,
    Retry,
    TaskOutcome,
)
from docket.docket import Docket, DocketSnapshot, RunningExecution, WorkerInfo
from docket.execution import Disposition, Execution, ExecutionState, ProgressEvent, StateEvent
from docket.strikelist import Operator, StrikeList
from docket.tasks import fail
from docket.worker import Worker
from tests.support.documented import (
    ADDED,
    ADDED_COMMANDS,
    ADDED_OPTIONS,
    ATTRIBUTES,
    COMMANDS,
    NAMES,
    SIGNATURES,
)

#: What the signatures are written with.
WORDS: dict[str, Any] = {
    "UTC": UTC,
    "milliseconds": lambda n: timedelta(milliseconds=n),
    "seconds": lambda n: timedelta(seconds=n),
    "minutes": lambda n: timedelta(minutes=n),
}


class Written:
    """A line of the table, taken apart: `async Docket.cancel(key)`."""

    def __init__(self, module: str, line: str) -> None:
        self.is_async = line.startswith("async ")
        self.path, _, arguments = line.removeprefix("async ").partition("(")
        self.name = f"{module}.{self.path}"
        self.module = module
        self.signature = inspect.signature(eval(f"lambda {arguments.removesuffix(')')}: 0", WORDS))

    @property
    def target(self) -> Callable[..., Any]:
        found: Any = importlib.import_module(self.module)
        for step in self.path.split("."):
            found = getattr(found, step)
        return found

    def __str__(self) -> str:
        return self.name


TABLE = [
    Written(module, line)
    for module, text in SIGNATURES.items()
    for line in text.strip().replace("\n    ", " ").splitlines()
]


@pytest.mark.parametrize("module", NAMES)
def test_a_module_has_the_documented_names(module: str) -> None:
    there = importlib.import_module(module)

    assert [name for name in NAMES[module].split() if not hasattr(there, name)] == []


@pytest.mark.parametrize("written", TABLE, ids=str)
def test_a_signature_is_the_documented_one(written: Written) -> None:
    additions = ADDED.get(written.name, {})
    real = [p for p in _parameters(written) if p.name not in additions]
    documented = list(written.signature.parameters.values())
    left_open = {p.name for p in documented if p.default is ...}

    assert _shape(real, left_open) == _shape(documented, left_open)


@pytest.mark.parametrize("written", TABLE, ids=str)
def test_what_the_documents_await_is_a_coroutine_function_and_nothing_else_is(
    written: Written,
) -> None:
    assert inspect.iscoroutinefunction(written.target) == written.is_async


@pytest.mark.parametrize("written", TABLE, ids=str)
def test_an_argument_beyond_the_documents_is_optional_and_comes_last(written: Written) -> None:
    additions = ADDED.get(written.name, {})
    real = _parameters(written)
    added = [p for p in real if p.name in additions]

    assert {p.name: p.default for p in added} == additions
    assert all(p.kind is p.KEYWORD_ONLY or p in real[-len(added) :] for p in added)


@pytest.mark.parametrize("owner", ATTRIBUTES)
def test_the_documented_attributes_are_there(owner: str) -> None:
    there = set(dir(_owner(owner)))

    assert set(ATTRIBUTES[owner].split()) - there == set()


def test_the_words_for_states_dispositions_and_operators_are_the_documented_ones() -> None:
    assert [state.value for state in ExecutionState] == [
        "scheduled",
        "queued",
        "running",
        "completed",
        "failed",
        "cancelled",
    ]
    assert {state.name for state in ExecutionState} == {
        state.value.upper() for state in ExecutionState
    }
    assert " ".join(d.name for d in Disposition) == (
        "LOADED SCHEDULED ALREADY_SCHEDULED STRUCK SUPERSEDED FAILED"
    )
    assert {o.value for o in Operator} == {"==", "!=", ">", ">=", "<", "<=", "between"}


def test_snapshots_and_workers_hold_what_is_documented() -> None:
    assert [f.name for f in fields(DocketSnapshot)] == [
        "taken",
        "total_tasks",
        "future",
        "running",
        "workers",
    ]
    assert [f.name for f in fields(WorkerInfo)] == ["name", "last_seen", "tasks"]


def test_events_hold_what_is_documented() -> None:
    assert set(get_type_hints(StateEvent)) == set(
        "type key state when worker started_at completed_at error".split()
    )
    assert set(get_type_hints(ProgressEvent)) == set(
        "type key current total message updated_at".split()
    )


@pytest.mark.parametrize("path", COMMANDS | ADDED_COMMANDS)
def test_a_command_has_the_documented_options_variables_and_arguments(path: str) -> None:
    command: click.Command = main
    for step in path.split():
        assert isinstance(command, click.Group)
        command = command.commands[step]

    expected = [
        *(COMMANDS | ADDED_COMMANDS)[path].split(),
        *([] if path in ("version", "web-user") else ADDED_OPTIONS.split()),
    ]
    assert sorted(_shown(p) for p in command.params) == sorted(expected)


def test_there_are_no_other_commands_than_the_documented_ones() -> None:
    found = {
        f"{name} {inner}".strip()
        for name, command in main.commands.items()
        for inner in (command.commands if isinstance(command, click.Group) else [""])
    }

    assert found == COMMANDS.keys() | ADDED_COMMANDS.keys()


def _parameters(written: Written) -> list[inspect.Parameter]:
    """Those that a caller gives: without `self`, and without what a dependency fills in."""
    parameters = list(inspect.signature(written.target).parameters.values())
    if parameters and parameters[0].name == "self":
        del parameters[0]
    return [p for p in parameters if not isinstance(p.default, Dependency)]


def _shape(
    parameters: list[inspect.Parameter], left_open: set[str]
) -> list[tuple[str, str, object]]:
    return [(p.name, p.kind.name, ... if p.name in left_open else p.default) for p in parameters]


def _owner(name: str) -> object:
    """One of the class; of one whose values need a running task, the class."""
    docket = Docket()
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    execution = Execution(docket, fail, ("Howdy!",), {}, "key", moment, 1)
    owners: dict[str, object] = {
        "Docket": docket,
        "Worker": Worker(docket),
        "Execution": execution,
        "ExecutionProgress": execution.progress,
        "RunningExecution": RunningExecution(execution, "worker", moment),
        "StrikeList": StrikeList(),
        "ConcurrencyLimit": ConcurrencyLimit,
        "Progress": Progress,
        "Retry": Retry(),
        "Perpetual": Perpetual(),
        "TaskOutcome": TaskOutcome(timedelta(0)),
    }
    return owners[name]


def _shown(parameter: click.Parameter) -> str:
    """As the table has it: `--url/-u[DOCKET_URL]`; `[message]` if it may be left out."""
    if isinstance(parameter, click.Argument):
        return str(parameter.name) if parameter.required else f"[{parameter.name}]"
    names = "/".join(sorted(parameter.opts, key=len, reverse=True))
    variables = parameter.envvar or ""
    variables = variables if isinstance(variables, str) else "|".join(variables)
    return f"{names}[{variables}]" if variables else names
