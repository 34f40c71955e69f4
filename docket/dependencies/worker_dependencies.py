"""The dependencies of a worker, which apply to every task that it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from docket.dependencies.base import AnyDependency, is_dependency
from docket.dependencies.plan import compile_plan
from docket.loading import load_attribute


def named_dependencies(given: object) -> dict[str, AnyDependency]:
    """Return the dependencies that a worker is given, by name.

    Args:
        given: a mapping by name; a sequence, whose members get reserved names; "module:member" of
            either; or None or an empty string for none.

    Raises:
        ValueError: a name begins with `__`; two are of a class that allows one; the path does not
            have the form "module:member".
        TypeError: something is not a Dependency.
        ImportError, AttributeError: there is no such module or member.
    """
    if isinstance(given, str) and given:
        given = load_attribute(
            given, f"Worker dependencies {given!r} are not of the form 'module:member'"
        )
    found: dict[str, AnyDependency] = {}
    for shown, name, dependency in _items(given):
        if not is_dependency(dependency):
            raise TypeError(
                f"Worker dependency {shown} must be a Dependency instance (e.g. Depends(function) "
                f"or Retry(...)), got {type(dependency).__name__}"
            )
        found[name] = dependency
    if found:
        compile_plan(_no_task, found)
    return found


def _items(given: object) -> Iterable[tuple[str, str, object]]:
    """Yield each dependency after its label for messages and its name."""
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


def _no_task() -> None:
    """Do nothing: the placeholder for a task when the dependencies are checked together."""
