"""The options of `run`, each in one row; the command line, environment and file read this table.

A value comes from the command line, else from the environment, else from the file, else it is the
default of SupervisorConfig. All three are text with the same meaning (a TOML file may also use
numbers, booleans and lists where they are natural), where empty text counts as not given; and the
error about a value names the variable or the key by which it was given. That is why these sources
are not click's own: click knows that a value came from the environment or from a default map, but
not from which variable or key.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from supervisor import process_range
from supervisor.config import (
    LOGGING_FORMATS,
    MOST_OF_ANYTHING,
    MOST_TASKS,
    PROCESSES_ACCEPTED,
    SERIALIZERS,
    Address,
    SupervisorConfig,
)
from supervisor.errors import ConfigurationError, InvalidOption
from supervisor.text import durations, sizes

ENVIRONMENT_PREFIX = "DOCKET_SUPERVISOR_"

#: The value of "off" and "none": a None that was given, unlike that of an absent value.
NEVER: Final = object()


@dataclass(frozen=True, slots=True)
class Option:
    """One option: the field of the config that it fills, and the parser of its text.

    Arguments:
        name: without dashes in front, as on the command line: `drain-timeout`.
        parse: from text to the field's value; its ValueError describes what is accepted.
        help: one line for --help.
        metavar: the placeholder of the value in --help.
        environment: variables understood besides DOCKET_SUPERVISOR_NAME, which wins.
        repeatable: the option may be given more than once; the field is a tuple.
        switch: the option takes no value and has a --no- form.
    """

    name: str
    parse: Callable[[str], Any]
    help: str
    metavar: str = "TEXT"
    environment: tuple[str, ...] = ()
    repeatable: bool = False
    switch: bool = False

    @property
    def field(self) -> str:
        """The field of SupervisorConfig that this option fills."""
        return self.name.replace("-", "_")

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that set this option; the first one set wins."""
        return (ENVIRONMENT_PREFIX + self.field.upper(), *self.environment)


def _reader(parse: Callable[[str], Any], accepted: str) -> Callable[[str], Any]:
    """A parser whose error describes what is accepted."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except ValueError:
            raise ValueError(accepted) from None

    return read


def _whole_number(least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers. The config checks the two limits; here they are only named."""
    return _reader(int, f"a whole number from {least} to {most}")


_count = _whole_number(1, MOST_OF_ANYTHING)
_processes = _reader(process_range.parse, PROCESSES_ACCEPTED)
_duration = _reader(durations.parse, durations.ACCEPTED)
_size = _reader(sizes.parse, sizes.ACCEPTED)
_share = _reader(sizes.parse_share, "a share such as 10% or 0.1")


def _or_never(parse: Callable[[str], Any], never: str) -> Callable[[str], Any]:
    """A parser that also accepts the word `never`, as NEVER."""

    def read(text: str) -> Any:
        if text.strip().lower() == never:
            return NEVER
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, or {never}") from None

    return read


def _yes_or_no(text: str) -> bool:
    match text.strip().lower():
        case "true" | "yes" | "on" | "1":
            return True
        case "false" | "no" | "off" | "0":
            return False
        case _:
            raise ValueError("true or false")


def _address(text: str) -> Address | None:
    if text.strip().lower() == "off":
        return None
    host, colon, port = text.rpartition(":")
    accepted = "HOST:PORT, as in 127.0.0.1:9090, or off"
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(accepted)
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


#: In the order of --help.
OPTIONS = (
    Option(
        "processes",
        _processes,
        "Size of the pool, by default one for each CPU; 2:16 lets it follow the work.",
        "N|LEAST:MOST",
    ),
    Option(
        "scale-up-wait",
        _duration,
        "Add workers when a ready task waits longer; with --processes LEAST:MOST.",
        "DURATION",
    ),
    Option(
        "scale-down-idle",
        _duration,
        "Retire one after this long with places to spare; with --processes LEAST:MOST.",
        "DURATION",
    ),
    Option(
        "tasks",
        str,
        "Collection of task functions to run; may be given more than once.",
        "MODULE:COLLECTION",
        environment=("DOCKET_TASKS",),
        repeatable=True,
    ),
    Option("docket", str, "Name of the docket.", "NAME", environment=("DOCKET_NAME",)),
    Option(
        "url",
        str,
        "Where the docket lives; memory:// and embedded:///PATH start the embedded server.",
        "URL",
        environment=("DOCKET_URL",),
    ),
    Option("concurrency", _count, "Tasks at once in each worker process.", "N"),
    Option(
        "redelivery-timeout",
        _duration,
        "A run whose lease was not renewed for this long is delivered again.",
        "DURATION",
    ),
    Option("reconnection-delay", _duration, "Accepted for compatibility.", "DURATION"),
    Option("minimum-check-interval", _duration, "Accepted for compatibility.", "DURATION"),
    Option("scheduling-resolution", _duration, "Accepted for compatibility.", "DURATION"),
    Option("schedule-automatic-tasks", _yes_or_no, "Seed automatic perpetual tasks.", switch=True),
    Option("fallback-task", str, "Receives tasks that are not known here.", "MODULE:FUNCTION"),
    Option("dependencies", str, "Dependencies that wrap every task.", "MODULE:MEMBER"),
    Option("message-batch", _count, "Most tasks that one exchange takes.", "N"),
    Option(
        "serializer",
        str,
        "|".join(SERIALIZERS) + ", as in every process of the docket; by default pickle.",
        "NAME",
        environment=("DOCKET_SERIALIZER",),
    ),
    Option(
        "execution-ttl",
        _duration,
        "How long the record of an ended task is kept; by default 15m.",
        "DURATION",
        environment=("DOCKET_EXECUTION_TTL",),
    ),
    Option(
        "keep-failed",
        _duration,
        "How long failed tasks are kept, to be looked at and retried; by default 7d.",
        "DURATION",
        environment=("DOCKET_KEEP_FAILED",),
    ),
    Option(
        "keep-failed-most",
        _count,
        "The most failed tasks that are kept; by default 10000.",
        "N",
        environment=("DOCKET_KEEP_FAILED_MOST",),
    ),
    Option(
        "heartbeat-interval",
        _duration,
        "Interval of the workers' heartbeats on the server; by default 2s.",
        "DURATION",
        environment=("DOCKET_HEARTBEAT_INTERVAL",),
    ),
    Option(
        "missed-heartbeats",
        _count,
        "Missed ones after which a worker counts as dead; by default 5.",
        "N",
        environment=("DOCKET_MISSED_HEARTBEATS",),
    ),
    Option(
        "docket-factory",
        str,
        "Makes the docket of whatever settings: called with name= and url=, it returns a Docket.",
        "MODULE:CALLABLE",
        environment=("DOCKET_FACTORY",),
    ),
    Option("http", _address, "Serve /metrics /livez /readyz /status here.", "HOST:PORT"),
    Option(
        "http-allow-host",
        str,
        "Name in the Host header to serve /metrics and /status under; may be given more than once.",
        "NAME",
        repeatable=True,
    ),
    Option("control", str, "Path of the control socket, for `ctl`.", "PATH"),
    Option("boot-timeout", _duration, "From a worker's fork to its readiness.", "DURATION"),
    Option(
        "drain-timeout",
        _duration,
        "From TERM or INT to handing back what still runs.",
        "DURATION",
    ),
    Option(
        "retire-timeout",
        _or_never(_duration, "none"),
        "The same for a worker that a successor replaces; none: it finishes.",
        "DURATION",
    ),
    Option("stall-warning", _duration, "Log the stack of a loop silent this long.", "DURATION"),
    Option("stall-timeout", _duration, "Kill a worker whose loop is silent this long.", "DURATION"),
    Option(
        "max-restarts",
        _whole_number(0, MOST_OF_ANYTHING),
        "Restarts in one window before giving up; by default ten for each process.",
        "N",
    ),
    Option("restart-window", _duration, "The window of --max-restarts.", "DURATION"),
    Option("backoff-max", _duration, "Longest pause before a restart.", "DURATION"),
    Option(
        "max-deliveries",
        _count,
        "Worker deaths a task may be running in before it is failed as poison.",
        "N",
    ),
    Option(
        "max-tasks",
        _or_never(_whole_number(1, MOST_TASKS), "off"),
        "Replace a worker that has started this many tasks, successor first.",
        "N",
    ),
    Option(
        "max-rss",
        _or_never(_size, "off"),
        "Replace a worker that has more resident memory than this.",
        "SIZE",
    ),
    Option("recycle-jitter", _share, "By how much less at most, so as not to go in step.", "SHARE"),
    Option("preload", _yes_or_no, "Import the task modules once, before forking.", switch=True),
    Option("logging-level", str.upper, "Least level that is logged.", "LEVEL"),
    Option("logging-format", str, "|".join(LOGGING_FORMATS) + "; by default by tty.", "FORMAT"),
)

_BY_FIELD = {option.field: option for option in OPTIONS}


def build(
    command_line: Mapping[str, Any], environment: Mapping[str, str], file: Path | None
) -> SupervisorConfig:
    """Build the config of a run, each value from the strongest source that gives it.

    Arguments:
        command_line: by field; text, a tuple of texts, or a bool. Absent or None: not given.
        environment: usually os.environ.
        file: the TOML file of --config.

    Raises:
        ConfigurationError: a value, a key or the file itself is not usable.
    """
    in_file = _read_file(file) if file is not None else {}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for option in OPTIONS:
        given = _strongest(option, command_line, environment, in_file)
        if given is not None:
            source, value = given
            sources[f"--{option.name}"] = source
            read = _read(option, source, value)
            values[option.field] = None if read is NEVER else read
    try:
        return SupervisorConfig(**values)
    except InvalidOption as error:
        raise error.named_as(sources.get(error.option, error.option)) from None


def _strongest(
    option: Option,
    command_line: Mapping[str, Any],
    environment: Mapping[str, str],
    in_file: Mapping[str, tuple[str, Any]],
) -> tuple[str, Any] | None:
    for source, given in _sources(option, command_line, environment, in_file):
        value = given
        if isinstance(given, tuple):
            value = tuple(each for each in cast("tuple[object, ...]", given) if each != "")
        if value not in (None, "", ()):
            return source, value
    return None


def _sources(
    option: Option,
    command_line: Mapping[str, Any],
    environment: Mapping[str, str],
    in_file: Mapping[str, tuple[str, Any]],
) -> Iterator[tuple[str, Any]]:
    yield f"--{option.name}", command_line.get(option.field)
    for variable in option.variables:
        text = environment.get(variable, "")
        yield variable, tuple(text.replace(",", " ").split()) if option.repeatable else text
    yield in_file.get(option.field, ("", None))


def _read(option: Option, source: str, value: Any) -> Any:
    """Parse the field's value. A number in the file means the same as its text: 5 is "5" is 5 s."""
    if option.repeatable:
        several: tuple[Any, ...] = (value,) if isinstance(value, str) else tuple(value)
        return tuple(_read_one(option, source, each) for each in several)
    return _read_one(option, source, value)


def _read_one(option: Option, source: str, value: Any) -> Any:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        return option.parse(text)
    except ValueError as error:
        raise InvalidOption(source, value, str(error)) from None


def _read_file(file: Path) -> dict[str, tuple[str, Any]]:
    toml = importlib.import_module("tomllib")  # of no use to a run without a file
    try:
        parsed: dict[str, Any] = toml.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"--config: cannot read {file}: {error.strerror}") from None
    except ValueError as error:  # of the syntax, or of UTF-8
        raise ConfigurationError(f"--config: {file} is not TOML: {error}") from None
    found: dict[str, tuple[str, Any]] = {}
    for key, value in parsed.items():
        option = _BY_FIELD.get(key.replace("-", "_"))
        if option is None:
            raise ConfigurationError(_unknown_key(file, key))
        found[option.field] = (f"{key} in {file}", _plain(option, f"{key} in {file}", value))
    return found


def _plain(option: Option, source: str, value: object) -> Any:
    several = cast("list[object]", value) if isinstance(value, list) else [value]
    if isinstance(value, list) and not option.repeatable:
        raise InvalidOption(source, several, "one value, not a list")
    for each in several:
        if not isinstance(each, str | int | float | bool):
            raise InvalidOption(source, each, "text, a number or true/false")
    return tuple(several) if option.repeatable else several[0]


def _unknown_key(file: Path, key: str) -> str:
    difflib = importlib.import_module("difflib")  # large, and of no use to a run
    close = difflib.get_close_matches(key.replace("_", "-"), [each.name for each in OPTIONS], 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"--config: {file} has a key {key!r} that is not an option of run{hint}"
