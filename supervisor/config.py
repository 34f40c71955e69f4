"""The configuration of one run of the supervisor, in one frozen value.

The command line, a test and a user's program get the same checks: values that cannot work are
refused here, with the name of the option, before anything is started.
"""

import os
import re
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from docket_display.redaction import without_password
from supervisor.errors import InvalidOption
from supervisor.process_range import ProcessRange
from supervisor.text import sizes
from supervisor.text.utf8 import is_utf8

#: Most characters of a docket's name, as docket has it.
MAX_NAME_LENGTH = 1024
#: The schemes of a docket's URL; the first two start the embedded server.
EMBEDDED_SCHEMES = ("memory", "embedded")
SCHEMES = (
    *EMBEDDED_SCHEMES,
    "redis",
    "rediss",
    "unix",
    "valkey",
    "valkeys",
    "redis+cluster",
    "rediss+cluster",
    "redis+sentinel",
    "rediss+sentinel",
)
#: The form of a URL's path, by the end of its scheme, and the text of the error; docket checks it
#: too, but only in the workers, too late to call it wrong usage.
_PATHS = {
    "+cluster": (re.compile(r"/?0?"), "no database but 0 of a cluster"),
    "+sentinel": (
        re.compile(r"/[^/]+(/[0-9]*)?"),
        "the name of the primary after the hosts, as in redis+sentinel://host:26379/primary/0",
    ),
    "": (re.compile(r"(/[0-9]*)?"), "the number of a database, as in redis://localhost:6379/0"),
}
LOGGING_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SERIALIZERS = ("pickle", "msgpack")
LOGGING_FORMATS = ("rich", "plain", "json")
#: More processes than this are a typing error, not a pool.
MOST_PROCESSES = 1024
#: For messages about a size that is not accepted.
PROCESSES_ACCEPTED = f"a whole number from 1 to {MOST_PROCESSES}, or a range of them such as 2:16"
#: The same for any other count; far below what a frame or a Redis integer can carry.
MOST_OF_ANYTHING = 1_000_000
#: A --max-tasks above this is none.
MOST_TASKS = 1_000_000_000_000
#: A --max-rss below this would recycle every worker as soon as it is ready.
LEAST_RSS = 1_000_000
#: Silence on the server after which a worker counts as dead, at least: the supervisor needs seconds
#: to have another worker vouch for one that is alive.
LEAST_LIFETIME = timedelta(seconds=5)
#: The default of --max-restarts, for each process.
RESTARTS_PER_PROCESS = 10


def usable_cpus() -> int:
    """The CPUs this process may run on (a container's cpuset counts, the machine's number not)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Address:
    """The address of the HTTP endpoints. `port` 0 takes a free one, which the log names."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorConfig:
    """The configuration of one pool: its tasks, its processes, and its limits.

    Raises:
        InvalidOption: a value that is not accepted; the message names its option.
    """

    #: Size of the pool; a range: it follows the work between the two.
    processes: int | ProcessRange = field(default_factory=usable_cpus)
    #: Of a pool with a range: it grows while a ready task waits longer and every place is taken.
    scale_up_wait: timedelta = timedelta(seconds=1)
    #: Of a pool with a range: it shrinks by one process after this long with places to spare.
    scale_down_idle: timedelta = timedelta(minutes=1)
    #: Collections of task functions, `module:attribute`.
    tasks: tuple[str, ...] = ("docket.tasks:standard_tasks",)
    #: Name of the docket; not empty, without braces (they mark the cluster slot of its keys).
    docket: str = "docket"
    #: Where the docket lives; `memory://` and `embedded:///PATH` start the embedded server.
    url: str = "redis://localhost:6379/0"

    #: Tasks at once in each worker process.
    concurrency: int = 10
    #: After this long without renewal a run is taken for lost and delivered again.
    redelivery_timeout: timedelta = timedelta(minutes=5)
    #: Accepted for compatibility; not used by the pool.
    reconnection_delay: timedelta = timedelta(seconds=5)
    #: Accepted for compatibility; not used by the pool.
    minimum_check_interval: timedelta = timedelta(milliseconds=250)
    #: Accepted for compatibility; not used by the pool.
    scheduling_resolution: timedelta = timedelta(milliseconds=250)
    #: Whether automatic perpetual tasks are seeded by this pool.
    schedule_automatic_tasks: bool = True
    #: `module:function` that receives tasks this pool does not know.
    fallback_task: str | None = None
    #: `module:member`: dependencies that wrap every task.
    dependencies: str | None = None
    #: Most tasks that one exchange takes.
    message_batch: int = 1000
    #: pickle or msgpack; None: pickle, or what the factory decides.
    serializer: str | None = None
    #: How long the record of an ended task is kept; None: 15 minutes, or as the factory decides.
    execution_ttl: timedelta | None = None
    #: How long failed tasks are kept, to be looked at and retried; None: 7 days, or as the factory
    #: decides.
    keep_failed: timedelta | None = None
    #: The most of them; None: 10,000, or as the factory decides.
    keep_failed_most: int | None = None
    #: Of the workers' heartbeats on the server; None: 2 seconds, or as the factory decides.
    heartbeat_interval: timedelta | None = None
    #: After so many missed ones a worker counts as dead; None: 5, or as the factory decides.
    missed_heartbeats: int | None = None
    #: `module:callable` that makes the Docket: called with `name=` and `url=`, for settings that no
    #: option has (a result storage, a credential provider).
    docket_factory: str | None = None

    #: Where /metrics /livez /readyz /status are served; None: nowhere.
    http: Address | None = None
    #: Names under which /metrics and /status are served, besides addresses and localhost.
    http_allow_host: tuple[str, ...] = ()
    #: Path of the control socket; None: one named after docket and pid, in the runtime folder.
    control: str | None = None
    #: From a worker's fork to its readiness; later it is killed and counts as a crash.
    boot_timeout: timedelta = timedelta(seconds=30)
    #: From TERM or INT to requeuing what still runs.
    drain_timeout: timedelta = timedelta(seconds=30)
    #: Drain timeout of a worker that is replaced or not wanted any more; None: no limit.
    retire_timeout: timedelta | None = None
    #: An event loop silent for this long has its stack logged.
    stall_warning: timedelta = timedelta(seconds=5)
    #: An event loop silent for this long has its process killed and its tasks redelivered.
    stall_timeout: timedelta = timedelta(seconds=60)
    #: Restarts allowed in one window; None: ten for each process.
    max_restarts: int | None = None
    #: The window of max_restarts, and the health after which a slot's backoff starts anew.
    restart_window: timedelta = timedelta(seconds=60)
    #: Longest pause before a restart.
    backoff_max: timedelta = timedelta(seconds=30)
    #: Deaths of the workers that ran a task after which it fails as poison.
    max_deliveries: int = 3
    #: A worker that has started this many tasks is replaced, successor first; None: never.
    max_tasks: int | None = None
    #: A worker whose resident memory is above this many bytes is replaced; None: never.
    max_rss: int | None = None
    #: Each worker's max_tasks and max_rss are up to this share lower: they do not go in step.
    recycle_jitter: float = 0.1
    #: Import the task modules once, in the nursery, rather than in each worker.
    preload: bool = True

    #: Least level that is logged.
    logging_level: str = "INFO"
    #: rich, plain or json; None: rich on a terminal, else plain.
    logging_format: str | None = None

    def __post_init__(self) -> None:
        self._check_text()
        self._check_numbers()
        self._check_durations()
        self._check_names()
        self._check_docket()

    @property
    def restarts_allowed(self) -> int:
        """Restarts in one window before the supervisor gives up."""
        if self.max_restarts is not None:
            return self.max_restarts
        return self.restarts_for(self.bounds.least)

    @property
    def bounds(self) -> ProcessRange:
        """The fewest processes, with which the pool starts, and the most; equal: a fixed size."""
        if isinstance(self.processes, ProcessRange):
            return self.processes
        return ProcessRange(self.processes, self.processes)

    def restarts_for(self, processes: int) -> int:
        """The restarts allowed without --max-restarts, for a pool that was scaled."""
        return RESTARTS_PER_PROCESS * processes

    @property
    def is_embedded(self) -> bool:
        """Return True if this run owns the server its docket lives on."""
        return urlsplit(self.url).scheme in EMBEDDED_SCHEMES

    @property
    def display_url(self) -> str:
        """`url` for logs and /status: without its password and its query."""
        return without_password(self.url)

    def _check_text(self) -> None:
        """Refuse bytes that are no UTF-8, which Python hands on as halves of characters.

        They can be part of no frame and of no key. The control socket may be in any folder.
        """
        for each in fields(self):
            given: Any = getattr(self, each.name)
            values: tuple[Any, ...] = (
                cast("tuple[Any, ...]", given) if isinstance(given, tuple) else (given,)
            )
            for value in values if each.name != "control" else ():
                if not is_utf8(str(value)):
                    shown = without_password(value) if each.name == "url" else value
                    raise InvalidOption("--" + each.name.replace("_", "-"), shown, "text in UTF-8")

    def _check_numbers(self) -> None:
        self._check_processes()
        for option, given, least in (
            ("--concurrency", self.concurrency, 1),
            ("--message-batch", self.message_batch, 1),
            ("--max-deliveries", self.max_deliveries, 1),
            ("--max-restarts", self.restarts_allowed, 0),
        ):
            _require_between(option, given, least, MOST_OF_ANYTHING)
        if self.max_tasks is not None:
            _require_between("--max-tasks", self.max_tasks, 1, MOST_TASKS)
        if self.max_rss is not None and self.max_rss < LEAST_RSS:
            accepted = f"off, or at least {sizes.brief(LEAST_RSS)}: less than that is no worker"
            raise InvalidOption("--max-rss", sizes.brief(self.max_rss), accepted)
        if not 0.0 <= self.recycle_jitter < 1.0:
            accepted = "a share from 0% to 99%"
            raise InvalidOption("--recycle-jitter", f"{self.recycle_jitter:.0%}", accepted)

    def _check_processes(self) -> None:
        if not isinstance(self.processes, ProcessRange):
            _require_between("--processes", self.processes, 1, MOST_PROCESSES)
        elif not 1 <= self.processes.least <= self.processes.most <= MOST_PROCESSES:
            raise InvalidOption("--processes", str(self.processes), PROCESSES_ACCEPTED)

    def _check_durations(self) -> None:
        for each in fields(self):
            given: Any = getattr(self, each.name)
            if isinstance(given, timedelta) and given < _LEAST_DURATION.get(each.name, _ATOM):
                least = _LEAST_DURATION.get(each.name, _ATOM).total_seconds()
                option = "--" + each.name.replace("_", "-")
                raise InvalidOption(
                    option, f"{given.total_seconds():g}s", f"a duration of at least {least:g}s"
                )
        if self.stall_timeout < self.stall_warning:
            raise InvalidOption(
                "--stall-timeout",
                f"{self.stall_timeout.total_seconds():g}s",
                "a duration not shorter than --stall-warning"
                f" ({self.stall_warning.total_seconds():g}s)",
            )

    def _check_names(self) -> None:
        if not self.docket or "{" in self.docket or "}" in self.docket:
            raise InvalidOption("--docket", self.docket, "a name that is not empty, without braces")
        if len(self.docket) > MAX_NAME_LENGTH:
            accepted = f"a name of at most {MAX_NAME_LENGTH} characters"
            raise InvalidOption("--docket", f"{self.docket[:40]}...", accepted)
        _check_url(self.url)
        if not self.tasks:
            raise InvalidOption("--tasks", (), "at least one module:collection")
        members = [("--tasks", each) for each in self.tasks]
        members += [("--fallback-task", self.fallback_task), ("--dependencies", self.dependencies)]
        members.append(("--docket-factory", self.docket_factory))
        for option, member in members:
            if member is not None and not _is_member(member):
                raise InvalidOption(option, member, "module:attribute")
        if self.control == "":
            raise InvalidOption("--control", self.control, "the path of a socket")
        if self.logging_level not in LOGGING_LEVELS:
            raise InvalidOption("--logging-level", self.logging_level, _one_of(LOGGING_LEVELS))
        if self.logging_format is not None and self.logging_format not in LOGGING_FORMATS:
            raise InvalidOption("--logging-format", self.logging_format, _one_of(LOGGING_FORMATS))

    def _check_docket(self) -> None:
        """Check what the Docket is made with, and that nothing is said twice of it."""
        if self.serializer is not None and self.serializer not in SERIALIZERS:
            raise InvalidOption("--serializer", self.serializer, _one_of(SERIALIZERS))
        for name in _DECIDED_BY_FACTORY:
            given = getattr(self, name)
            if self.docket_factory is not None and given is not None:
                option = "--" + name.replace("_", "-")
                shown = f"{given.total_seconds():g}s" if isinstance(given, timedelta) else given
                accepted = "nothing beside --docket-factory, which decides it"
                raise InvalidOption(option, shown, accepted)
        if self.keep_failed_most is not None:
            _require_between("--keep-failed-most", self.keep_failed_most, 1, MOST_OF_ANYTHING)
        if self.missed_heartbeats is not None:
            _require_between("--missed-heartbeats", self.missed_heartbeats, 1, MOST_OF_ANYTHING)
        interval = self.heartbeat_interval or timedelta(seconds=2)
        lifetime = interval * (self.missed_heartbeats or 5)
        if lifetime < LEAST_LIFETIME:
            option = "--heartbeat-interval" if self.heartbeat_interval else "--missed-heartbeats"
            accepted = (
                f"at least {LEAST_LIFETIME.total_seconds():g}s of --heartbeat-interval x "
                "--missed-heartbeats: a busy worker would count as dead"
            )
            raise InvalidOption(option, f"{lifetime.total_seconds():g}s", accepted)


_DECIDED_BY_FACTORY = (
    *("serializer", "execution_ttl", "keep_failed", "keep_failed_most"),
    *("heartbeat_interval", "missed_heartbeats"),
)
_ATOM = timedelta(milliseconds=1)
#: A drain or a backoff of nothing makes sense; a stall shorter than two heartbeats does not.
_LEAST_DURATION = {
    "drain_timeout": timedelta(0),
    "retire_timeout": timedelta(0),
    "backoff_max": timedelta(0),
    "execution_ttl": timedelta(0),
    "keep_failed": timedelta(0),
    "stall_warning": timedelta(seconds=1),
    "stall_timeout": timedelta(seconds=1),
}


def _check_url(url: str) -> None:
    expected = _expected_url(url)
    if expected is not None:
        raise InvalidOption("--url", without_password(url), expected)


def _expected_url(url: str) -> str | None:
    """The form that `url` should have, if it is not accepted."""
    accepted = "a URL of " + ", ".join(f"{scheme}://" for scheme in SCHEMES)
    try:
        parts = urlsplit(url)
    except ValueError:
        return accepted
    if "://" not in url or parts.scheme not in SCHEMES:
        return accepted
    if parts.scheme in ("embedded", "unix"):
        # redis-py's unix URLs may carry a user: unix://user@/some/path
        is_path = not parts.netloc.rpartition("@")[2] and parts.path.startswith("/")
        return None if is_path else f"an absolute path, as in {parts.scheme}:///some/path"
    return None if parts.scheme == "memory" else _expected_server(parts)


def _expected_server(parts: SplitResult) -> str | None:
    """The form of the port and the path of a URL of servers, if one of them is not accepted."""
    kind = next(kind for kind in _PATHS if parts.scheme.endswith(kind))
    if not kind:
        try:
            _ = parts.port
        except ValueError:
            return "a port from 0 to 65535"
    form, expected = _PATHS[kind]
    return None if form.fullmatch(parts.path) else expected


def _is_member(text: str) -> bool:
    module, colon, attribute = text.partition(":")
    names = [*module.split("."), *attribute.split(".")]
    return bool(colon) and all(name.isidentifier() for name in names)


def _require_between(option: str, given: int, least: int, most: int) -> None:
    if not least <= given <= most:
        raise InvalidOption(option, given, f"a whole number from {least} to {most}")


def _one_of(choices: tuple[str, ...]) -> str:
    return "one of " + ", ".join(choices)
