"""The dependencies that a function declares in its signature.

A default that is a dependency gives its parameter the value, and so does a provider (`Depends`,
`Shared`, `CallArgument`, `TaskArgument`, ...) in its `Annotated` metadata. Any other dependency in
the metadata wraps the call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import uncalled_for

from docket.annotations import annotated_metadata, signature_of
from docket.dependencies.base import AnyDependency, is_dependency
from docket.dependencies.functional import function_label


class Declarations:
    """The dependencies of a function, read from its signature once.

    Attributes:
        parameters: those that give a parameter its value, by parameter, in order.
        wrappers: those that wrap the call, by parameter, in order.
        positions: the position of each parameter that can be passed by position.
        defaults: the ordinary defaults.
        names: the names of all parameters.
        takes_any_name: whether it takes keyword arguments of any name.

    Raises:
        TypeError: the function is not callable; a default is `Provided`, and nothing provides it.
        ValueError: two dependencies give one parameter its value, or one is positional-only.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.parameters: dict[str, AnyDependency] = {}
        self.wrappers: dict[str, list[AnyDependency]] = {}
        self.positions: dict[str, int] = {}
        self.defaults: dict[str, object] = {}
        metadata = annotated_metadata(function)
        signature = signature_of(function)
        self.names = signature.parameters.keys()
        self.takes_any_name = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        for name, parameter in signature.parameters.items():
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                self.positions[name] = len(self.positions)
            found = _instances(metadata.get(name, ()))
            values = [item for item in found if is_provider(item)]
            if wrappers := [item for item in found if not is_provider(item)]:
                self.wrappers[name] = wrappers
            if is_dependency(parameter.default):
                values.append(parameter.default)
            elif not _is_missing(parameter.default):
                self.defaults[name] = parameter.default
            _check(function, parameter, values)
            if values:
                self.parameters[name] = values[0]

    def can_have(self, name: str) -> bool:
        """Return whether a call may pass an argument of this name."""
        return name in self.names or self.takes_any_name


def is_provider(dependency: AnyDependency) -> bool:
    """Return whether it gives a value to the parameter in whose metadata it stands."""
    return isinstance(dependency, uncalled_for.Provider)


def _is_missing(default: object) -> bool:
    return default is inspect.Parameter.empty or default is uncalled_for.Provided


def _instances(metadata: tuple[object, ...]) -> list[AnyDependency]:
    """Return the dependencies among the items; a class stands for an instance of it."""
    found: list[AnyDependency] = []
    for item in metadata:
        if is_dependency(item):
            found.append(item)
        elif inspect.isclass(item) and issubclass(item, uncalled_for.Dependency):
            found.append(cast(AnyDependency, item()))
    return found


def _check(
    function: Callable[..., Any], parameter: inspect.Parameter, values: list[AnyDependency]
) -> None:
    place = f"parameter {parameter.name!r} of {function_label(function)!r}"
    if len(values) > 1:
        raise ValueError(f"{place} has {len(values)} dependencies: leave one")
    if values and parameter.kind is parameter.POSITIONAL_ONLY:
        raise ValueError(
            f"{place} is positional-only; a dependency is passed by name: move the '/' before it"
        )
    if parameter.default is uncalled_for.Provided and not values:
        raise TypeError(
            f"{place} defaults to Provided, but nothing in its annotation provides the value: "
            "add Depends(...) there"
        )


def get_dependency_parameters(function: Callable[..., Any]) -> dict[str, AnyDependency]:
    """Return the dependencies that give a function's parameters their values, by parameter.

    Raises:
        TypeError, ValueError: the parameters of the function cannot be provided.
    """
    return Declarations(function).parameters


def get_annotation_dependencies(function: Callable[..., Any]) -> dict[str, list[AnyDependency]]:
    """Return the dependencies in `Annotated[T, ...]` that wrap the call, by parameter.

    Raises:
        TypeError, ValueError: the parameters of the function cannot be provided.
    """
    return Declarations(function).wrappers
