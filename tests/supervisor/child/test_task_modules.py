"""The user's modules: their place, and the errors without them."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import ipc
from docket import Docket
from ipc.messages import WorkerSettings
from supervisor.child import task_modules
from supervisor.child.task_modules import CannotLoad
from supervisor.text import truncation
from tests.support.nursery import ROOT, settings


@pytest.fixture
def interpreter(tmp_path: Path) -> Iterator[None]:
    """Gives the working directory, the path and the modules of this process back."""
    directory, path, modules = Path.cwd(), sys.path[:], set(sys.modules)
    yield
    os.chdir(directory)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def failure(path: str) -> CannotLoad:
    with pytest.raises(CannotLoad) as caught:
        task_modules.load([path])
    return caught.value


@pytest.mark.usefixtures("interpreter")
def test_modules_are_found_in_the_directory_that_was_entered(tmp_path: Path) -> None:
    (tmp_path / "loading_a.py").write_text("class space:\n    tasks = [1]\n")

    task_modules.enter(str(tmp_path), ["loading_a:space.tasks"])
    task_modules.enter(str(tmp_path), [])

    assert task_modules.resolve("loading_a:space.tasks") == [1]
    assert sys.path.count(str(tmp_path)) == 1
    assert Path.cwd() == tmp_path


@pytest.mark.usefixtures("interpreter")
def test_a_directory_is_entered_by_the_name_the_user_gave_it(tmp_path: Path) -> None:
    (tmp_path / "release-7").mkdir()
    (tmp_path / "current").symlink_to("release-7")

    task_modules.enter(str(tmp_path / "current"), [])

    assert sys.path[0] == str(tmp_path / "current")


@pytest.mark.parametrize("path", ["module", ":tasks", "module:", ""])
def test_a_path_of_another_form_is_refused(path: str) -> None:
    assert "is not of the form module:attribute" in str(failure(path))


def test_a_missing_module_is_reported_in_one_line() -> None:
    assert str(failure("not_there_at_all:tasks")) == (
        "cannot import 'not_there_at_all' of 'not_there_at_all:tasks': "
        "ModuleNotFoundError: No module named 'not_there_at_all'"
    )


def test_a_module_without_the_attribute_is_reported() -> None:
    assert "cannot load 'json:tasks'" in str(failure("json:tasks"))


@pytest.mark.usefixtures("interpreter")
def test_the_details_begin_at_the_users_own_line(tmp_path: Path) -> None:
    (tmp_path / "loading_b.py").write_text("1 / 0\n")
    task_modules.enter(str(tmp_path), [])

    lines = failure("loading_b:tasks").details.splitlines()

    assert f'File "{tmp_path}/loading_b.py", line 1' in lines[1]
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_an_error_is_described_in_one_line() -> None:
    assert task_modules.describe(ValueError("a\n  b")) == "ValueError: a b"
    assert task_modules.describe(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_all_that_a_worker_resolves_is_loaded() -> None:
    worker = WorkerSettings("d", "u", "u", fallback_task="a:b", dependencies="c:d")

    assert task_modules.paths_of(settings("/", tasks=["e:f"], worker=worker)) == [
        "e:f",
        "a:b",
        "c:d",
    ]


@pytest.mark.parametrize("name", ["docket", "ipc", "supervisor"])
@pytest.mark.parametrize("file", ["{}.py", "{}/__init__.py"])
def test_a_module_with_a_name_of_ours_is_refused(tmp_path: Path, name: str, file: str) -> None:
    theirs = tmp_path / file.format(name)
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("")

    assert task_modules.shadowed(tmp_path) == name


@pytest.mark.usefixtures("interpreter")
def test_the_refusal_names_the_directory_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "ipc.py").write_text("")

    with pytest.raises(CannotLoad, match=r"has a module named 'ipc'.*rename it") as caught:
        task_modules.enter(str(tmp_path), [])

    assert str(tmp_path) in str(caught.value)


def test_a_directory_of_configuration_files_is_no_module_unless_imported(tmp_path: Path) -> None:
    (tmp_path / "supervisor").mkdir()

    assert task_modules.shadowed(tmp_path, ["app.tasks:tasks"]) is None
    assert task_modules.shadowed(tmp_path, ["supervisor.tasks:tasks"]) == "supervisor"


def test_a_checkout_of_this_project_shadows_nothing() -> None:
    assert task_modules.shadowed(ROOT, ["supervisor.tasks:tasks"]) is None


@pytest.mark.parametrize(
    ("project", "name"),
    [
        ('[project]\nname = "docket-supervisor"\n', None),
        ('[project]\nname = "shop"\n', "ipc"),
        ("not toml at all", "ipc"),
    ],
)
def test_another_checkout_of_this_project_shadows_nothing_and_one_of_another_project_does(
    tmp_path: Path, project: str, name: str | None
) -> None:
    (tmp_path / "pyproject.toml").write_text(project)
    (tmp_path / "ipc").mkdir()
    (tmp_path / "ipc" / "__init__.py").write_text("")

    assert task_modules.shadowed(tmp_path) == name


def test_a_package_without_a_file_of_its_own_owns_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ipc.py").write_text("")
    monkeypatch.setattr(ipc, "__file__", None)

    assert task_modules.shadowed(tmp_path) == "ipc"


async def ship() -> None: ...


async def bill() -> None: ...


def log_of(caplog: pytest.LogCaptureFixture, *collections: str) -> list[str]:
    with caplog.at_level("INFO", "supervisor.tasks"):
        task_modules.log_found(settings("/", tasks=[f"found_tasks:{name}" for name in collections]))
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


@pytest.fixture
def found_tasks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with collections of tasks."""
    module = ModuleType("found_tasks")
    vars(module).update(
        some=[ship, bill],
        none=(),
        views={}.values(),
        once=iter([ship]),
        many=[SimpleNamespace(__name__=f"task{n}" + "x" * 10_000) for n in range(60)],
    )
    monkeypatch.setitem(sys.modules, "found_tasks", module)
    return module


@pytest.mark.usefixtures("found_tasks")
def test_the_tasks_of_each_collection_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert log_of(caplog, "some", "none") == ["INFO 2 tasks in found_tasks:some: ship, bill"]


@pytest.mark.usefixtures("found_tasks")
def test_many_tasks_with_long_names_are_a_bounded_line(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = log_of(caplog, "many")
    assert line.startswith("INFO 60 tasks in found_tasks:many: task0x")
    assert line.endswith(" and 10 more")
    assert len(line) < 51 * truncation.NAME


@pytest.mark.usefixtures("found_tasks")
def test_no_task_at_all_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = log_of(caplog, "none", "views")
    assert line == (
        "WARNING no task is registered, since found_tasks:none and found_tasks:views are empty: "
        "whatever is added is unknown to this pool"
    )


def test_a_collection_that_can_be_read_once_is_left_to_the_workers(
    caplog: pytest.LogCaptureFixture, found_tasks: ModuleType
) -> None:
    assert log_of(caplog, "once") == []
    assert list(found_tasks.once) == [ship]


@pytest.mark.usefixtures("interpreter")
def test_tasks_are_prepared_before_the_forks_but_not_those_that_can_be_read_once_only(
    tmp_path: Path,
) -> None:
    (tmp_path / "prepared_tasks.py").write_text(
        "from docket import Retry\n"
        "async def first(retry: Retry = Retry()): ...\n"
        "async def second(retry: Retry = Retry()): ...\n"
        "tasks = [first]\n"
        "once = iter([second])\n"
    )
    paths = [f"prepared_tasks:{name}" for name in ("tasks", "once")]
    task_modules.enter(str(tmp_path), paths)
    task_modules.load(paths)

    task_modules.prepare_forks(settings(tmp_path, tasks=paths))

    dockets = [Docket(), Docket()]
    dockets[0].register_collection(paths[1])
    for docket in dockets:
        docket.register_collection(paths[0])
    assert "second" in dockets[0].tasks
    assert dockets[0].plans["first"] is dockets[1].plans["first"]
