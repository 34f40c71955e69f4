"""Command line over environment over file over default; errors name the source of a value."""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from supervisor.cli.option_table import OPTIONS, Option, build
from supervisor.config import Address, SupervisorConfig
from supervisor.errors import ConfigurationError
from supervisor.process_range import ProcessRange

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str) -> Path:
        file = tmp_path / "pool.toml"
        file.write_text(text)
        return file

    return write_file


def test_every_field_of_the_config_has_an_option_and_the_other_way_round() -> None:
    fields = {field.name for field in dataclasses.fields(SupervisorConfig)}
    assert {option.field for option in OPTIONS} == fields


def test_without_any_source_it_is_the_default() -> None:
    assert build({}, {}, None) == SupervisorConfig()


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(write: Write) -> None:
    file = write('docket = "file"\nconcurrency = 3\nprocesses = 3\n')
    environment = {"DOCKET_SUPERVISOR_DOCKET": "env", "DOCKET_SUPERVISOR_CONCURRENCY": "2"}
    config = build({"docket": "line"}, environment, file)
    assert (config.docket, config.concurrency, config.processes) == ("line", 2, 3)


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("DOCKET_NAME", "orders", "docket", "orders"),
        ("DOCKET_URL", "redis://host", "url", "redis://host"),
        ("DOCKET_TASKS", "a:b c:d", "tasks", ("a:b", "c:d")),
        ("DOCKET_SUPERVISOR_TASKS", "a:b,c:d", "tasks", ("a:b", "c:d")),
        ("DOCKET_SUPERVISOR_PRELOAD", "off", "preload", False),
        ("DOCKET_SUPERVISOR_DRAIN_TIMEOUT", "1m", "drain_timeout", timedelta(minutes=1)),
        ("DOCKET_SUPERVISOR_PROCESSES", "8", "processes", 8),
        ("DOCKET_SUPERVISOR_PROCESSES", "2:16", "processes", ProcessRange(2, 16)),
        ("DOCKET_SUPERVISOR_SCALE_UP_WAIT", "5s", "scale_up_wait", timedelta(seconds=5)),
        ("DOCKET_SUPERVISOR_HTTP", "[::1]:80", "http", Address("::1", 80)),
        ("DOCKET_SUPERVISOR_HTTP", "off", "http", None),
        ("DOCKET_SUPERVISOR_LOGGING_LEVEL", "debug", "logging_level", "DEBUG"),
    ],
)
def test_the_environment_is_read(variable: str, text: str, field: str, value: Any) -> None:
    assert getattr(build({}, {variable: text}, None), field) == value


def test_the_supervisors_own_variable_wins_over_the_shared_one() -> None:
    environment = {"DOCKET_NAME": "shared", "DOCKET_SUPERVISOR_DOCKET": "own"}
    assert build({}, environment, None).docket == "own"


def test_a_file_may_use_the_types_of_toml(write: Write) -> None:
    file = write(
        'tasks = ["a:b", "c:d"]\npreload = false\ndrain-timeout = 45\nbackoff_max = "2m"\n'
    )
    config = build({}, {}, file)
    assert config.tasks == ("a:b", "c:d")
    assert config.preload is False
    assert config.drain_timeout == timedelta(seconds=45)
    assert config.backoff_max == timedelta(minutes=2)


def test_one_collection_in_a_file_needs_no_list(write: Write) -> None:
    assert build({}, {}, write('tasks = "a:b"')).tasks == ("a:b",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("processs = 3", "has a key 'processs' .* did you mean 'processes'"),
        ("weather = 3", "has a key 'weather' that is not an option of run$"),
        ("processes = ", "is not TOML"),
        ("processes = [1, 2]", "processes in .*: got .* expected one value, not a list"),
        ("processes = {a = 1}", "expected text, a number or true/false"),
        ("tasks = [[1]]", "expected text, a number or true/false"),
        (
            "processes = 1.5",
            "processes in .*: got 1.5, expected a whole number from 1 to 1024, or a range of",
        ),
        ("preload = 'perhaps'", "expected true or false"),
    ],
)
def test_a_file_that_cannot_be_used_is_reported_in_one_line(
    write: Write, text: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        build({}, {}, write(text))
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read .*: No such file"):
        build({}, {}, tmp_path / "missing.toml")


def test_an_error_of_the_config_names_the_source_of_the_value() -> None:
    with pytest.raises(ConfigurationError, match=r"^DOCKET_URL: got '\*\*\*'"):
        build({}, {"DOCKET_URL": "nonsense"}, None)
    with pytest.raises(ConfigurationError, match=r"^--stall-timeout: got"):
        build({"stall_warning": "2m"}, {}, None)


@pytest.mark.parametrize("text", ["9090", "host:", "host:port", "host:99999", ":"])
def test_an_address_needs_a_host_and_a_port(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected HOST:PORT"):
        build({"http": text}, {}, None)


@pytest.mark.statement(7)
@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_empty_text_is_as_nothing_given(option: Option, write: Write) -> None:
    given: Any = ("",) if option.repeatable else ""

    assert build({option.field: given}, {}, None) == SupervisorConfig()
    assert build({}, dict.fromkeys(option.variables, ""), None) == SupervisorConfig()
    assert build({}, {}, write(f'{option.name} = ""')) == SupervisorConfig()


@pytest.mark.statement(7)
def test_what_is_empty_leaves_it_to_the_next_source(write: Write) -> None:
    file = write('docket = "file"\ntasks = ["", "a:b"]')
    environment = {"DOCKET_SUPERVISOR_DOCKET": "", "DOCKET_TASKS": " "}

    assert build({"docket": ""}, environment, file).docket == "file"
    assert build({"docket": ""}, {**environment, "DOCKET_NAME": "shared"}, file).docket == "shared"
    assert build({"tasks": ("",)}, environment, file).tasks == ("a:b",)
    assert build({"tasks": ("c:d", "")}, environment, file).tasks == ("c:d",)


def test_the_settings_of_the_docket_come_from_the_file_and_the_environment(write: Write) -> None:
    text = 'serializer = "msgpack"\nexecution-ttl = "1d"\nmissed-heartbeats = 9'
    environment = {"DOCKET_HEARTBEAT_INTERVAL": "3s"}

    built = build({}, environment, write(text))

    assert (built.serializer, built.missed_heartbeats) == ("msgpack", 9)
    assert (built.execution_ttl, built.heartbeat_interval) == (
        timedelta(days=1),
        timedelta(seconds=3),
    )
    with pytest.raises(ConfigurationError, match=r"serializer in .* nothing beside --docket-fac"):
        build({}, {"DOCKET_FACTORY": "factories:make"}, write(text))
