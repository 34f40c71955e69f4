"""The plan of a task's dependencies: immutable, compiled once, in an order that can be resolved.

Pure: nothing here is entered, called or awaited. `docket.dependencies.resolution` executes the
plan for each run, in one pass over `Plan.steps`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from docket.annotations import annotated_metadata, signature_of
from docket.dependencies.arguments import MISSING, Argument, EffectiveArgument, Lookup
from docket.dependencies.base import (
    Dependency,
    Runtime,
    ScopedRuntime,
    TaskRun,
    is_dependency,
    is_provided,
    needs_closing,
)
from docket.dependencies.errors import CycleError, DuplicateDependency
from docket.dependencies.functional import Functional, SharedFunctional, function_label
from docket.dependencies.handlers import (
    CompletionHandler,
    FailureHandler,
    PureCompletionHandler,
    PureFailureHandler,
)
from docket.dependencies.limits import Gate, Limit, limits_of

#: Internal base classes: a message about a second Retry names FailureHandler instead.
_SHAPES = (PureFailureHandler, PureCompletionHandler, ScopedRuntime)
_NONE: Mapping[str, Dependency[Any]] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One value of the plan."""

    dependency: Dependency[Any]
    #: Returns the value at once, if it needs no awaiting.
    provide: Callable[[TaskRun], object] | None = None
    #: True if it is exited after the run; for a `Functional` that depends on the returned value.
    closes: bool = False
    #: Arguments of a `Functional`: values of earlier steps (by index), and fixed ones.
    inputs: tuple[tuple[str, int], ...] = ()
    constants: Mapping[str, object] = field(default_factory=dict[str, object])
    #: The key of a shared value, and the plan whose last step makes it.
    shared: tuple[Hashable, Plan] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The steps to resolve for one task function, each after those it needs."""

    function: Callable[..., Any]
    steps: tuple[Step, ...]
    #: The parameters of the task, each with the step that gives its value.
    outputs: tuple[tuple[str, int], ...]
    #: The worker's dependencies, which are not parameters of the task, by name.
    around: Mapping[str, Dependency[Any]]
    hidden: tuple[tuple[str, int], ...]
    #: True if there is nothing to resolve: call the function with the caller's arguments.
    bare: bool
    #: Limits that must admit the run before anything is resolved.
    gates: tuple[Gate, ...]
    #: Indices of the steps of the failure handler, the completion handler and the runtime.
    failure_handler: int | None
    completion_handler: int | None
    runtime: int | None
    #: The parameters with dependencies, and the number of positional arguments before the first.
    parameters: frozenset[str]
    free_positions: int
    _overridden: dict[frozenset[str], Plan]

    def given(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Plan:
        """Return the plan for a call that passes these arguments.

        An argument passed for a parameter with a dependency takes precedence; that dependency, and
        those that it alone needs, are not resolved.
        """
        if len(args) <= self.free_positions and self.parameters.isdisjoint(kwargs):
            return self
        by_position = _positional_names(self.function)[: len(args)]
        passed = self.parameters.intersection((*by_position, *kwargs))
        if passed not in self._overridden:
            self._overridden[passed] = _Compiler(
                self.function, without=passed, around=self.around
            ).compile()
        return self._overridden[passed]


def compile_plan(
    function: Callable[..., Any], around: Mapping[str, Dependency[Any]] = _NONE
) -> Plan:
    """Compile the dependencies of a task function; done once, when it is registered.

    The rules of a class of dependencies (`single`, `FailureHandler`, `Runtime`) apply to the task
    as a whole: a `Retry` that a dependency of the task asks for is the task's `Retry`.

    Args:
        function: the function of the task.
        around: the worker's dependencies, by names for messages; entered before those of the task,
            their values are not passed to it.

    Raises:
        CycleError: the dependencies form a cycle.
        DuplicateDependency: two dependencies of a class that allows one
            (`Only one X dependency is allowed per task`).
        ValueError: two dependencies at one parameter; a dependency at a positional-only parameter;
            a shared value that needs a value of one run.
        TypeError: `Depends` of something that is not callable, or that binds a parameter which
            the function does not have.
    """
    return _Compiler(function, without=frozenset(), around=around).compile()


def get_dependency_parameters(function: Callable[..., Any]) -> dict[str, Dependency[Any]]:
    """Return the dependencies that a function's own parameters ask for, by parameter, in order.

    A dependency is the default of a parameter or part of its `Annotated[T, dependency]`. A limit in
    an `Annotated` does not give the parameter its value: the caller does, and the limit counts it.

    Raises:
        TypeError: the function is not callable.
        ValueError: two dependencies at one parameter, or one at a positional-only parameter.
    """
    metadata = annotated_metadata(function)
    found: dict[str, Dependency[Any]] = {}
    for name, parameter in signature_of(function).parameters.items():
        here = [c for c in (parameter.default,) if is_dependency(c)]
        here += [c for c in metadata.get(name, ()) if is_dependency(c) and not isinstance(c, Limit)]
        if not here:
            continue
        if len(here) > 1:
            raise ValueError(
                f"parameter {name!r} of {function_label(function)!r} has {len(here)} dependencies: "
                "leave one"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ValueError(
                f"parameter {name!r} of {function_label(function)!r} is positional-only; a "
                "dependency is passed by name: move the '/' before it"
            )
        found[name] = here[0]
    return found


def _positional_names(function: Callable[..., Any]) -> list[str]:
    return [
        p.name
        for p in signature_of(function).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]


class _Compiler:
    """A depth-first compiler: each step is written after all the steps it needs."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        without: frozenset[str],
        around: Mapping[str, Dependency[Any]] = _NONE,
    ) -> None:
        self._function = function
        self._around = around
        self._parameters = {
            name: dependency
            for name, dependency in get_dependency_parameters(function).items()
            if name not in without
        }
        self._positions = {name: i for i, name in enumerate(_positional_names(function))}
        self._defaults = {
            name: parameter.default
            for name, parameter in signature_of(function).parameters.items()
            if parameter.default is not parameter.empty
            and not isinstance(parameter.default, Dependency)
        }
        self._steps: list[Step] = []
        self._gates: list[Gate] = []
        self._written: dict[Hashable, int] = {}
        #: The dependencies being compiled, outermost first, with their labels for messages.
        self._path: dict[Hashable, str] = {}
        #: Keys contain the id() of dependencies, which must not be freed and have it reused.
        self._kept: list[object] = []

    def compile(self) -> Plan:
        # The worker's dependencies come first, scopes last: directly around the call.
        wanted = [(True, *item) for item in self._around.items()]
        wanted += [(False, *item) for item in self._parameters.items()]
        wanted.sort(key=lambda item: isinstance(item[2], ScopedRuntime))
        hidden: list[tuple[str, int]] = []
        indices: dict[str, int] = {}
        for is_hidden, name, dependency in wanted:
            index = self._write(name, dependency)
            if is_hidden:
                hidden.append((name, index))
            else:
                indices[name] = index
        dependencies = [step.dependency for step in self._steps]
        per_value = limits_of(self._function)
        self._gates += [self._gate(limit, limit.argument or name) for name, limit in per_value]
        _refuse_second_of_single([*dependencies, *(limit for _, limit in per_value)])
        return Plan(
            function=self._function,
            steps=tuple(self._steps),
            outputs=tuple((name, indices[name]) for name in self._parameters),
            around=self._around,
            hidden=tuple(hidden),
            bare=not (wanted or self._gates),
            gates=tuple(self._gates),
            failure_handler=_first(FailureHandler, dependencies),
            completion_handler=_first(CompletionHandler, dependencies),
            runtime=_first(Runtime, dependencies, but=ScopedRuntime),
            parameters=frozenset(self._parameters),
            free_positions=min(
                (self._positions[n] for n in self._parameters if n in self._positions),
                default=sys.maxsize,
            ),
            _overridden={},
        )

    def _write(self, parameter: str, dependency: Dependency[Any]) -> int:
        """Write the step for a dependency, unless it exists; return its index."""
        key = self._key(parameter, dependency)
        if key in self._written:
            return self._written[key]
        if key in self._path:
            circle = [*list(self._path.values())[list(self._path).index(key) :], self._path[key]]
            raise CycleError(
                f"the dependencies of {function_label(self._function)!r} need each other in a "
                f"circle: {' -> '.join(circle)}"
            )
        self._path[key] = _label(parameter, dependency)
        index = self._written[key] = self._step(parameter, dependency)
        del self._path[key]
        return index

    def _step(self, parameter: str, dependency: Dependency[Any]) -> int:
        if isinstance(dependency, EffectiveArgument):
            name = dependency.parameter or parameter
            if name in self._parameters:
                return self._write(name, self._parameters[name])
        self._steps.append(self._new_step(parameter, dependency))
        return len(self._steps) - 1

    def _new_step(self, parameter: str, dependency: Dependency[Any]) -> Step:
        match dependency:
            case Functional():
                return self._functional(dependency)
            case SharedFunctional():
                return self._shared(dependency)
            case Argument():
                return Step(dependency, self._lookup(parameter, dependency).provide)
            case Limit():
                gate = self._gate(dependency, dependency.argument)
                self._gates.append(gate)
                return Step(dependency, gate.provide)
            case _ if is_provided(dependency):
                return Step(dependency, dependency.provide)
            case _:
                return Step(dependency, closes=needs_closing(dependency))

    def _gate(self, limit: Limit[Any], argument: str | None) -> Gate:
        if argument is None:
            return Gate(limit, None)
        return Gate(limit, Lookup(argument, self._positions.get(argument), MISSING))

    def _functional(self, dependency: Functional) -> Step:
        function, bindings = dependency.function, dependency.bindings
        for name, limit in limits_of(function):
            raise ValueError(
                f"{type(limit).__name__} at parameter {name!r} of {dependency!r} counts nothing: "
                "put it at a parameter of the task itself, or name its argument"
            )
        accepted = signature_of(function).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
            for name in bindings:
                if name not in accepted:
                    raise TypeError(f"{dependency!r}: the function has no parameter {name!r}")
        nested = {**get_dependency_parameters(function), **bindings}
        inputs = tuple(
            (name, self._write(name, value))
            for name, value in nested.items()
            if is_dependency(value)
        )
        fixed = {n: v for n, v in bindings.items() if not isinstance(v, Dependency)}
        return Step(dependency, inputs=inputs, constants=fixed)

    def _shared(self, dependency: SharedFunctional) -> Step:
        functional = dependency.functional
        name = function_label(functional.function)
        compiler = _Compiler(_nothing, without=frozenset(), around={name: functional})
        # The path is shared, so that a cycle through both plans is found.
        compiler._function, compiler._path = self._function, self._path
        plan = compiler.compile()
        for step in plan.steps:
            if isinstance(step.dependency, _OF_ONE_RUN):
                raise ValueError(
                    f"{dependency!r} of {function_label(self._function)!r} is made once a worker, "
                    f"so it cannot need {type(step.dependency).__name__}, which is of one run"
                )
        return Step(dependency, shared=(_identity(functional.function), plan))

    def _lookup(self, parameter: str, dependency: Argument) -> Lookup:
        name = dependency.parameter or parameter
        default = dependency.default
        if isinstance(dependency, EffectiveArgument):
            default = self._defaults.get(name, default)
        return Lookup(name, self._positions.get(name), default)

    def _key(self, parameter: str, dependency: Dependency[Any]) -> Hashable:
        """Return the key by which equal dependencies are resolved once in each run."""
        self._kept.append(dependency)
        match dependency:
            case Functional(function=function, bindings=bindings):
                bound = ((n, self._binding_key(n, bindings[n])) for n in sorted(bindings))
                return "function", _identity(function), tuple(bound)
            case SharedFunctional(functional=functional):
                return "shared", _identity(functional.function)
            case Argument(parameter=named, default=default):
                return type(dependency), named or parameter, _constant_key(default)
            case _:
                return "instance", id(dependency)

    def _binding_key(self, parameter: str, value: object) -> Hashable:
        if is_dependency(value):
            return self._key(parameter, value)
        return _constant_key(value)


#: Classes that belong to one run, which a shared value cannot depend on.
_OF_ONE_RUN = (Argument, Limit, Runtime, FailureHandler, CompletionHandler)


def _nothing() -> None:
    """Do nothing: the placeholder for a task in the plan of a shared value."""


def _first(
    kind: type[Dependency[Any]],
    dependencies: list[Dependency[Any]],
    *,
    but: type[Dependency[Any]] | tuple[()] = (),
) -> int | None:
    found = (
        i for i, d in enumerate(dependencies) if isinstance(d, kind) and not isinstance(d, but)
    )
    return next(found, None)


def _constant_key(value: object) -> Hashable:
    return "constant", type(value), _identity(value)  # compares types too, since 1 == True


def _identity(value: object) -> Hashable:
    return value if isinstance(value, Hashable) and _hashes(value) else ("id", id(value))


def _hashes(value: Hashable) -> bool:
    # A tuple that holds a list passes isinstance(Hashable), yet cannot be hashed.
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _label(parameter: str, dependency: Dependency[Any]) -> str:
    if isinstance(dependency, Functional):
        return function_label(dependency.function)
    if isinstance(dependency, SharedFunctional):
        return repr(dependency)
    kind = dependency.public_name if isinstance(dependency, Argument) else type(dependency).__name__
    return f"{kind} at {parameter!r}"


def _refuse_second_of_single(dependencies: list[Dependency[Any]]) -> None:
    for i, dependency in enumerate(dependencies):
        for cls in inspect.getmro(type(dependency)):
            if not (issubclass(cls, Dependency) and cls.single) or cls in _SHAPES:
                continue
            if any(isinstance(other, cls) for other in dependencies[i + 1 :]):
                raise DuplicateDependency(cls.__name__)
