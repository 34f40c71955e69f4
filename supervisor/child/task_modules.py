"""The user's modules: their place on sys.path, their import, and the errors of that.

Everything of ours must be imported before `enter`: from then on the working directory comes first
on sys.path, as users expect of `module:attr`, and a file of theirs would win.
"""

from __future__ import annotations

import importlib
import logging
import operator
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sized
from pathlib import Path
from types import TracebackType
from typing import Any, Final, cast

import docket
import docket_display
import ipc
import supervisor
from docket import prefork
from ipc.framing import Decoder
from ipc.messages import Settings, ToWorker
from supervisor.errors import SupervisorError
from supervisor.text import truncation
from supervisor.text.plurals import pluralize

log = logging.getLogger("supervisor.tasks")

#: Tasks of one collection that are named in the log.
MOST_NAMES: Final = 50

#: Our top-level packages with names that a user's directory may well have too.
OURS: Final = {
    "docket": docket,
    "docket_display": docket_display,
    "ipc": ipc,
    "supervisor": supervisor,
}


#: What docket imports when a worker first needs it, and a file of the user's could shadow.
IMPORTED_LATER: Final = ("cloudpickle", "zoneinfo")


class CannotLoad(SupervisorError):
    """User code that cannot be loaded; `details` is the traceback through it, or empty."""

    def __init__(self, reason: str, details: str = "") -> None:
        super().__init__(reason)
        self.details = details


def enter(directory: str, paths: Iterable[str]) -> None:
    """Change to the user's directory and look for modules there first.

    `paths` ("module:attr") are those to be loaded from it.
    Raises CannotLoad when it cannot be entered or hides our own packages.
    """
    for later in IMPORTED_LATER:
        importlib.import_module(later)
    try:
        os.chdir(directory)
    except OSError as error:
        raise CannotLoad(f"cannot change to the working directory: {error}") from error
    name = shadowed(Path(directory), paths)
    if name is not None:
        raise CannotLoad(
            f"{directory} has a module named {name!r}, which is also a package of "
            "docket-supervisor, so neither would find its own: rename it"
        )
    if directory not in sys.path:
        sys.path.insert(0, directory)
    importlib.invalidate_caches()


def shadowed(directory: Path, paths: Iterable[str] = ()) -> str | None:
    """The name of a package of ours that is also a module in this directory, if there is one.

    A directory without an `__init__.py` (one full of .conf files, say) is a module only
    for a path that imports from it.
    """
    if _is_checkout(directory):
        return None
    imported = {path.partition(":")[0].partition(".")[0] for path in paths}
    for name, package in OURS.items():
        theirs = [directory / f"{name}.py", directory / name / "__init__.py"]
        if name in imported:
            theirs.append(directory / name)
        if any(path.exists() and not _belongs_to(package.__file__, path) for path in theirs):
            return name
    return None


def paths_of(settings: Settings) -> list[str]:
    """All paths that a worker with these settings resolves."""
    worker = settings.worker
    extras = (worker.fallback_task, worker.dependencies, worker.docket_factory)
    return [*settings.tasks, *(path for path in extras if path is not None)]


def load(paths: Iterable[str]) -> None:
    """Import the modules of these "module:attr" paths and look the attributes up.

    Raises CannotLoad for the first that fails, for any exception: SystemExit too.
    """
    for path in paths:
        resolve(path)


def log_found(settings: Settings) -> None:
    """Log the tasks in the collections of loaded modules; warn if there are none.

    Whatever is added is unknown to a pool without tasks.
    """
    found = [(path, _names(resolve(path))) for path in settings.tasks]
    for path, names in found:
        if names:
            listed = ", ".join(_cut(name) for name in names[:MOST_NAMES])
            rest = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            log.info("%s in %s: %s%s", pluralize(len(names), "task"), path, listed, rest)
    if found and settings.worker.fallback_task is None and all(names == [] for _, names in found):
        log.warning(
            "no task is registered, since %s %s empty: whatever is added is unknown to this pool",
            " and ".join(settings.tasks),
            "is" if len(settings.tasks) == 1 else "are",
        )


def prepare_forks(settings: Settings) -> None:
    """Do before the forks what each worker would do with its settings, and its loaded modules."""
    collections = [resolve(path) for path in settings.tasks] if settings.preload else []
    # Not those that can be read once only: that is left to the worker.
    functions = [function for each in collections for function in _members(each) or ()]
    prefork.prepare(settings.worker.url, functions)
    Decoder(ToWorker)


def _cut(name: str) -> str:
    return truncation.head(name, truncation.NAME)


def _names(collection: object) -> list[str] | None:
    """The names of the tasks of a collection; None if it can be read once only."""
    members = _members(collection)
    if members is None:
        return None
    return [str(getattr(function, "__name__", function)) for function in members]


def _members(collection: object) -> list[Callable[..., Any]] | None:
    """The tasks of a collection; None if it can be read once only."""
    if not (isinstance(collection, Sized) and isinstance(collection, Iterable)):
        return None
    return list(cast("Iterable[Callable[..., Any]]", collection))


def resolve(path: str) -> object:
    """The object at "module:attr". Raises CannotLoad."""
    module_name, colon, attribute = path.partition(":")
    if not (module_name and colon and attribute):
        raise CannotLoad(f"{path!r} is not of the form module:attribute")
    try:
        module = importlib.import_module(module_name)
    except BaseException as error:
        raise CannotLoad(
            f"cannot import {module_name!r} of {path!r}: {describe(error)}", details(error)
        ) from error
    try:
        return operator.attrgetter(attribute)(module)
    except AttributeError as error:
        raise CannotLoad(f"cannot load {path!r}: {error}") from error


def describe(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def details(error: BaseException) -> str:
    """The traceback of an import, from the user's first line on."""
    user = _after_import_machinery(error.__traceback__)
    return "".join(traceback.format_exception(type(error), error, user))


def _after_import_machinery(at: TracebackType | None) -> TracebackType | None:
    """Skip our own frame and those of importlib before the first one of the user's."""
    while at is not None and _is_machinery(at.tb_frame.f_code.co_filename):
        at = at.tb_next
    return at


def _is_machinery(filename: str) -> bool:
    return filename in {__file__, importlib.__file__} or filename.startswith("<frozen importlib")


def _is_checkout(directory: Path) -> bool:
    """Return True for a source tree of this project, of which another copy is installed.

    The packages in it with our names are ours, and the copy that runs is in sys.modules already.
    """
    try:
        text = (directory / "pyproject.toml").read_text(encoding="utf-8")
        # Where there is such a file: it would be a part of all workers.
        project: dict[str, dict[str, object]] = importlib.import_module("tomllib").loads(text)
    except (OSError, ValueError):
        return False
    return project.get("project", {}).get("name") == "docket-supervisor"


def _belongs_to(ours: str | None, path: Path) -> bool:
    """Return True for our own package's folder or `__init__.py` (a checkout of this project)."""
    if ours is None:
        return False
    own = Path(ours)
    return path.samefile(own) or path.samefile(own.parent)
