"""Dependencies of a worker: around every task that it runs."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, cast

from docket.dependencies.base import Dependency, is_dependency
from docket.dependencies.plan import compile_plan


def named_dependencies(given: object) -> dict[str, Dependency[Any]]:
    """The dependencies that a worker is given, by name.

    Args:
        given: a mapping by name; a sequence, whose members get names that nobody can choose;
            "module:member" where either stands; or None.

    Raises:
        ValueError: a name begins with `__`; two are of a class of which a task may have one; the
            path has not the form "module:member".
        TypeError: something is not a Dependency.
        ImportError, AttributeError: the path leads nowhere.
    """
    if isinstance(given, str):
        given = _member(given)
    found: dict[str, Dependency[Any]] = {}
    for shown, name, dependency in _items(given):
        if not is_dependency(dependency):
            raise TypeError(
                f"Worker dependency {shown} must be a Dependency instance (e.g. Depends(function) "
                f"or Retry(...)), got {type(dependency).__name__}"
            )
        found[name] = dependency
    compile_plan(_no_task, found)
    return found


def _items(given: object) -> Iterable[tuple[str, str, object]]:
    """What to call it in messages, its name, and the dependency."""
    if given is None:
        return
    if isinstance(given, Mapping):
        for name, dependency in cast("Mapping[str, object]", given).items():
            if name.startswith("__"):
                raise ValueError(
                    f"Worker dependency name {name!r} is reserved: names must not start with '__'"
                )
            yield repr(name), name, dependency
        return
    if not isinstance(given, Iterable):
        raise TypeError(
            "The dependencies of a worker are a mapping, a sequence or 'module:member', not a "
            f"{type(given).__name__}"
        )
    for index, dependency in enumerate(cast("Iterable[object]", given)):
        yield f"at index {index}", f"__worker_dep_{index}__", dependency


def _member(path: str) -> object:
    module, colon, member = path.partition(":")
    if not (module and colon and member):
        raise ValueError(f"Worker dependencies {path!r} are not of the form 'module:member'")
    return getattr(importlib.import_module(module), member)


def _no_task() -> None:
    """Stands for a task, to see that the dependencies go together."""
