"""The plan of a task's dependencies: immutable, compiled once, in an order that can be resolved.

Pure: nothing here is entered, called or awaited. `docket.dependencies.resolution` executes the
plan for each run, in one pass over `Plan.steps`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any, NoReturn, cast

import uncalled_for
from msgspec import Struct, field
from msgspec.structs import replace
from uncalled_for import CycleError

from docket.dependencies.arguments import (
    MISSING,
    Lookup,
    PassedArgument,
    is_argument,
    unnamed,
)
from docket.dependencies.base import (
    AnyDependency,
    Runtime,
    TaskRun,
    is_dependency,
    is_provided,
    needs_closing,
    overrides,
)
from docket.dependencies.declarations import Declarations
from docket.dependencies.duplicates import Place, refuse_duplicates
from docket.dependencies.errors import DuplicateDependency, unresolved
from docket.dependencies.functional import (
    ValueFactory,
    bound_dependencies,
    function_label,
    label,
)
from docket.dependencies.handlers import CompletionHandler, FailureHandler
from docket.dependencies.limits import Gate, Limit
from docket.execution.plain_functions import is_plain
from docket.injection import (
    Argument,
    Functional,
    SharedFunctional,
    is_functional,
    is_shared,
)

_NONE: Mapping[str, AnyDependency] = {}


class Step(Struct, frozen=True, eq=False):
    """One value of the plan."""

    dependency: AnyDependency
    #: Returns the value at once, if it needs no awaiting.
    provide: Callable[[TaskRun], object] | None = None
    #: The function to call, for a `Functional`.
    factory: ValueFactory | None = None
    #: Arguments of a `Functional`: values of earlier steps (by index), and fixed ones.
    inputs: tuple[tuple[str, int], ...] = ()
    constants: Mapping[str, object] = field(default_factory=dict[str, object])
    #: The key of a shared value, and the plan whose last step makes it.
    shared: tuple[Hashable, Plan] | None = None
    #: True if it is exited after the run.
    closes: bool = False
    #: The parameter to announce to a dependency whose class has its own `for_parameter`.
    parameter: str | None = None
    #: The argument to bind a dependency to that wraps the call.
    binding: Lookup | None = None
    #: True if it can only fail.
    refuses: bool = False

    @property
    def runs_code(self) -> bool:
        """Return whether code of others runs, which may look for the call that it runs for."""
        return self.provide is None

    @property
    def enters(self) -> bool:
        """Return whether it enters a dependency in the dependency's own way."""
        return self.runs_code and self.factory is None and self.shared is None


class Plan(Struct, frozen=True, eq=False):
    """The steps to resolve for one task function, each after those it needs."""

    function: Callable[..., Any]
    declared: Declarations
    steps: tuple[Step, ...]
    #: The parameters of the task, each with the step that gives its value.
    outputs: tuple[tuple[str, int], ...]
    #: All that is wanted, by the names of the message about a failure: the dependencies of the
    #: worker, those of the parameters, and those that wrap the call.
    wanted: tuple[tuple[str, int], ...]
    #: Parameters with neither an argument nor a default, which get what wraps the call.
    fillers: tuple[tuple[Lookup, int], ...]
    #: The worker's dependencies, which are not parameters of the task, by name.
    around: Mapping[str, AnyDependency]
    #: True if there is nothing to resolve: call the function with the caller's arguments.
    bare: bool
    #: True if the function may block: it is called in a thread, and its plan is not bare.
    plain: bool
    #: True if a step runs code that may look for the call, and if one enters a dependency that may
    #: resolve others by itself.
    runs_code: bool
    enters: bool
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
    #: Makes the error of every run, if the dependencies cannot be resolved: a circle, or one of the
    #: worker beside one of the task. No retry can mend that.
    fault: Callable[[], Exception] | None = None

    def given(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Plan:
        """Return the plan for a call that passes these arguments.

        An argument passed for a parameter with a dependency takes precedence; that dependency, and
        those that it alone needs, are not resolved.
        """
        if len(args) <= self.free_positions and self.parameters.isdisjoint(kwargs):
            return self
        by_position = list(self.declared.positions)[: len(args)]
        passed = self.parameters.intersection((*by_position, *kwargs))
        if passed not in self._overridden:
            self._overridden[passed] = runnable_plan(self.function, self.around, passed)
        return self._overridden[passed]


def compile_plan(function: Callable[..., Any], around: Mapping[str, AnyDependency] = _NONE) -> Plan:
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
    return _Compiler(function, around).compile()


def runnable_plan(
    function: Callable[..., Any],
    around: Mapping[str, AnyDependency] = _NONE,
    without: frozenset[str] = frozenset(),
) -> Plan:
    """Compile a plan; one with a `fault` where the dependencies form a circle or exclude others.

    Args:
        function, around: as for `compile_plan`, which raises in these two cases.
        without: parameters that the caller passes.
    """
    try:
        return _Compiler(function, around, without).compile()
    except CycleError as error:
        fault = partial(CycleError, str(error))
    except DuplicateDependency as error:
        fault = partial(unresolved, {f"__conflict_{error.kind}__": error})
    declarations = Declarations(function)
    declared = declarations.parameters
    # What is left has no circle; its completion handler keeps a perpetual task going.
    kept = {name for name, dependency in declared.items() if is_provided(dependency)}
    try:
        plan = _Compiler(function, without=without | (declared.keys() - kept)).compile()
    except DuplicateDependency:
        plan = _Compiler(function, without=frozenset(declared)).compile()
    parameters = frozenset(declared.keys() - without)
    return replace(
        plan,
        fault=fault,
        bare=False,
        around=around,
        parameters=parameters,
        free_positions=_free_positions(declarations, parameters),
    )


class _Compiler:
    """A depth-first compiler: each step is written after all the steps it needs."""

    def __init__(
        self,
        function: Callable[..., Any],
        around: Mapping[str, AnyDependency] = _NONE,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self._function = function
        self._around = around
        self._declared = declared = Declarations(function)
        self._parameters = {
            name: dependency
            for name, dependency in declared.parameters.items()
            if name not in without
        }
        self._steps: list[Step] = []
        self._gates: list[Gate] = []
        self._places: list[Place] = []
        #: The parameter or name that is being compiled, and whether it is one of the worker.
        self._at = ("", False)
        self._written: dict[Hashable, int] = {}
        #: The dependencies being compiled, outermost first, with their labels for messages.
        self._path: dict[Hashable, str] = {}
        #: Keys contain the id() of dependencies, which must not be freed and have it reused.
        self._kept: list[object] = []

    def compile(self) -> Plan:
        hidden = [(name, self._write_at(name, d, True)) for name, d in self._around.items()]
        outputs = [(name, self._write_at(name, d, False)) for name, d in self._parameters.items()]
        wrappers = self._write_wrappers()
        refuse_duplicates(self._places)
        dependencies = [step.dependency for step in self._steps]
        parameters = frozenset(self._parameters)
        plain = is_plain(self._function)
        return Plan(
            function=self._function,
            declared=self._declared,
            steps=tuple(self._steps),
            outputs=tuple(outputs),
            wanted=(*hidden, *outputs, *wrappers),
            fillers=self._fillers(wrappers),
            around=self._around,
            bare=not (self._steps or self._gates or plain),
            plain=plain,
            runs_code=any(step.runs_code for step in self._steps),
            enters=any(step.enters for step in self._steps),
            gates=tuple(self._gates),
            failure_handler=_first(FailureHandler, dependencies),
            completion_handler=_first(CompletionHandler, dependencies),
            runtime=_first(Runtime, dependencies),
            parameters=parameters,
            free_positions=_free_positions(self._declared, parameters),
            _overridden={},
        )

    def _write_at(self, name: str, dependency: AnyDependency, is_around: bool) -> int:
        self._at = (name, is_around)
        return self._write(name, dependency)

    def _write(self, parameter: str, dependency: AnyDependency) -> int:
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

    def _step(self, parameter: str, dependency: AnyDependency) -> int:
        if is_argument(dependency) and not isinstance(dependency, PassedArgument):
            name = cast(Argument, dependency).parameter or parameter
            if name in self._parameters:
                return self._write(name, self._parameters[name])
        return self._append(self._new_step(parameter, dependency))

    def _append(self, step: Step) -> int:
        self._steps.append(step)
        is_nested = len(self._path) > 1
        self._places.append(Place(self._at[0], step.dependency, self._at[1], is_nested))
        return len(self._steps) - 1

    def _new_step(self, parameter: str, dependency: AnyDependency) -> Step:
        if is_functional(dependency):
            return self._functional(cast(Functional, dependency))
        if is_shared(dependency):
            return self._shared(cast(SharedFunctional, dependency))
        if is_argument(dependency):
            return self._argument(parameter, cast(Argument, dependency))
        named = parameter if self._is_named(dependency, len(self._path) > 1) else ""
        provide: Callable[[TaskRun], object] | None = None
        if isinstance(dependency, Limit):
            gate = self._gate(dependency, dependency.argument)
            self._gates.append(gate)
            provide = gate.provide
        if is_provided(dependency) and not named:
            return Step(dependency, provide or dependency.provide)
        return Step(dependency, closes=bool(named) or needs_closing(dependency), parameter=named)

    def _write_wrappers(self) -> list[tuple[str, int]]:
        """Write the steps of what wraps the call, after those of the parameters."""
        written: list[tuple[str, int]] = []
        for name, dependencies in self._declared.wrappers.items():
            self._at = (name, False)
            for dependency in dependencies:
                is_plain = is_provided(dependency) and not overrides(
                    dependency, uncalled_for.Dependency, "bind_to_parameter"
                )
                if isinstance(dependency, Limit):
                    self._gates.append(self._gate(dependency, dependency.argument or name))
                    if is_plain:
                        self._places.append(Place(name, dependency, False))
                        continue
                written.append((name, self._append(self._wrapper(name, dependency, is_plain))))
        return written

    def _wrapper(self, name: str, dependency: AnyDependency, is_plain: bool) -> Step:
        if is_plain and is_provided(dependency):
            return Step(dependency, dependency.provide)
        value = self._parameters.get(name)
        return Step(
            dependency,
            closes=True,
            binding=Lookup(name, self._declared.positions.get(name), default=None),
            inputs=() if value is None else ((name, self._write(name, value)),),
        )

    def _fillers(self, wrappers: list[tuple[str, int]]) -> tuple[tuple[Lookup, int], ...]:
        declared = self._declared
        first = dict(reversed(wrappers))
        return tuple(
            (Lookup(name, declared.positions.get(name)), index)
            for name, index in first.items()
            if name not in declared.defaults and name not in declared.parameters
        )

    def _gate(self, limit: Limit[Any], argument: str | None) -> Gate:
        if argument is None:
            return Gate(limit, None)
        return Gate(limit, Lookup(argument, self._declared.positions.get(argument)))

    def _functional(self, dependency: Functional) -> Step:
        function, bindings = dependency.factory, dependency.bindings
        declared = Declarations(function)
        given: dict[str, AnyDependency] = {}
        for name, wrappers in declared.wrappers.items():
            for limit in wrappers:
                if isinstance(limit, Limit):
                    raise ValueError(
                        f"{type(limit).__name__} at parameter {name!r} of {label(dependency)} "
                        "counts nothing: put it at a parameter of the task itself, or name its "
                        "argument"
                    )
            if name not in declared.defaults:
                given[name] = wrappers[0]
        for name in bindings:
            if not declared.can_have(name):
                raise TypeError(f"{label(dependency)}: the function has no parameter {name!r}")
        nested = {
            name: value
            for name, value in {**given, **declared.parameters}.items()
            if name not in bindings
        } | bound_dependencies(dependency)
        is_keyed = not bindings and _hashes(function)
        return Step(
            dependency,
            factory=ValueFactory(function, function if is_keyed else None),
            inputs=tuple((name, self._write(name, value)) for name, value in nested.items()),
            constants={n: v for n, v in bindings.items() if n not in nested},
        )

    def _shared(self, dependency: SharedFunctional) -> Step:
        function = dependency.factory
        functional = cast(AnyDependency, uncalled_for.Depends(function))
        compiler = _Compiler(_nothing, {function_label(function): functional})
        # The path is shared, so that a cycle through both plans is found.
        compiler._function, compiler._path = self._function, self._path
        plan = compiler.compile()
        for step in plan.steps:
            if isinstance(step.dependency, _OF_ONE_RUN):
                raise ValueError(
                    f"{label(dependency)} of {function_label(self._function)!r} is made once a "
                    f"worker, so it cannot need {label(step.dependency)}, which is of one run"
                )
        return Step(dependency, shared=(_identity(function), plan))

    def _argument(self, parameter: str, dependency: Argument) -> Step:
        name = dependency.parameter or parameter
        default = None if dependency.optional else dependency.default
        if isinstance(dependency, PassedArgument):
            if dependency.parameter is None and len(self._path) == 1:
                return Step(dependency, _refuse_unnamed, refuses=True)
            error = partial(KeyError, name)
            return self._argument_step(dependency, name, default, error)
        owner = getattr(self._function, "__qualname__", function_label(self._function))
        problem = (
            f"received no value for parameter {name!r}"
            if name in self._declared.names
            else f"has no parameter named {name!r}"
        )
        error = partial(LookupError, f"{owner} {problem}")
        default = self._declared.defaults.get(name, default)
        return self._argument_step(dependency, name, default, error)

    def _argument_step(
        self, dependency: Argument, name: str, default: object, error: Callable[[], Exception]
    ) -> Step:
        lookup = Lookup(name, self._declared.positions.get(name), default, error)
        is_impossible = default is MISSING and not self._declared.can_have(name)
        return Step(dependency, lookup.provide, refuses=is_impossible)

    def _key(self, parameter: str, dependency: AnyDependency) -> Hashable:
        """Return the key by which equal dependencies are resolved once in each run."""
        self._kept.append(dependency)
        if is_functional(dependency):
            functional = cast(Functional, dependency)
            bindings = functional.bindings
            bound = ((n, self._binding_key(n, bindings[n])) for n in sorted(bindings))
            return "function", _identity(functional.factory), tuple(bound)
        if is_shared(dependency):
            return "shared", _identity(cast(SharedFunctional, dependency).factory)
        if is_argument(dependency):
            argument = cast(Argument, dependency)
            default = None if argument.optional else argument.default
            is_own = argument.parameter is None and not self._path
            return type(argument), argument.parameter or parameter, _constant_key(default), is_own
        is_named = self._is_named(dependency, bool(self._path))
        return "instance", id(dependency), parameter if is_named else ""

    def _is_named(self, dependency: AnyDependency, is_nested: bool) -> bool:
        """Return whether it wants to know its parameter; one of the worker stands at none."""
        is_at_one = is_nested or not self._at[1]
        return is_at_one and overrides(dependency, uncalled_for.Dependency, "for_parameter")

    def _binding_key(self, parameter: str, value: object) -> Hashable:
        if is_dependency(value):
            return self._key(parameter, value)
        return _constant_key(value)


#: Classes that belong to one run, which a shared value cannot depend on.
_OF_ONE_RUN = (Argument, Limit, Runtime, FailureHandler, CompletionHandler)


def _nothing() -> None:
    """Do nothing: the placeholder for a task in the plan of a shared value."""


def _refuse_unnamed(run: TaskRun) -> NoReturn:
    raise unnamed()


def _free_positions(declared: Declarations, parameters: frozenset[str]) -> int:
    positions = declared.positions
    return min((positions[name] for name in parameters if name in positions), default=sys.maxsize)


def _first(kind: type[AnyDependency], dependencies: list[AnyDependency]) -> int | None:
    return next((i for i, d in enumerate(dependencies) if isinstance(d, kind)), None)


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


def _label(parameter: str, dependency: AnyDependency) -> str:
    if is_functional(dependency):
        return function_label(cast(Functional, dependency).factory)
    if is_shared(dependency):
        return label(dependency)
    return parameter
