"""Parameter annotations in `Annotated[T, ...]`, and `Logged`."""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sized
from dataclasses import dataclass
from types import SimpleNamespace
from typing import (
    Annotated,
    Any,
    ForwardRef,
    Never,
    NoReturn,
    Self,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)


class _Names(dict[str, Any]):
    """The names that an annotation may use; an unknown name evaluates to itself.

    Names imported under `if TYPE_CHECKING:` do not exist at run time. They may be used beside a
    dependency in one `Annotated`, and the dependency must be found all the same.
    """

    def __init__(self, module: Mapping[str, Any]) -> None:
        super().__init__(vars(builtins))
        self.update(module)

    def __missing__(self, name: str) -> Any:
        return ForwardRef(name)


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a callable; an empty one if it has none (some builtins).

    Raises:
        TypeError: it is not callable.
    """
    try:
        return inspect.signature(function)
    except ValueError:
        return inspect.Signature()


def annotated_metadata(function: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
    """Return the metadata of each parameter's `Annotated[T, ...]`, by name, where there is one.

    String annotations (as with `from __future__ import annotations`) are evaluated; those that
    cannot be are skipped.
    """
    names: _Names | None = None
    found: dict[str, tuple[Any, ...]] = {}
    for name, parameter in signature_of(function).parameters.items():
        annotation = parameter.annotation
        if isinstance(annotation, str):
            names = names if names is not None else _Names(_globals_of(function))
            annotation = _evaluate(annotation, names)
        if get_origin(annotation) is Annotated:
            found[name] = get_args(annotation)[1:]
    return found


@dataclass(frozen=True)
class ParameterTypes:
    """The annotated types of a function's parameters; `Any` for those without an annotation.

    Attributes:
        positional: names of the parameters that can be passed by position, in order.
        named: the type of each parameter that can be passed by name or by position.
        rest: the name of `*args`, if there is one; `rest_type` is the type of each.
        rest_by_name_type: the type of each of `**kwargs`.
    """

    positional: tuple[str, ...]
    named: dict[str, Any]
    rest: str | None
    rest_type: Any
    rest_by_name_type: Any


def parameter_types(function: Callable[..., Any]) -> ParameterTypes:
    """Return the types of a function's parameters, with string annotations evaluated.

    One that cannot be evaluated stays a string, or contains a ForwardRef.
    """
    names = _globals_of(function)
    positional: list[str] = []
    named: dict[str, Any] = {}
    rest, rest_type, rest_by_name_type = None, Any, Any
    for name, parameter in signature_of(function).parameters.items():
        annotation = _type_of(parameter.annotation, names)
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest, rest_type = name, annotation
        elif parameter.kind is parameter.VAR_KEYWORD:
            rest_by_name_type = annotation
        else:
            named[name] = annotation
            if parameter.kind is not parameter.KEYWORD_ONLY:
                positional.append(name)
    return ParameterTypes(tuple(positional), named, rest, rest_type, rest_by_name_type)


def result_type(function: Callable[..., Any]) -> Any:
    """Return the annotated type of a function's awaited result; `Any` if it has none."""
    returned = signature_of(function).return_annotation
    annotation = _type_of(returned, _globals_of(function))
    if annotation in (NoReturn, Never):
        return Any
    awaited = get_origin(annotation) or annotation
    if inspect.isclass(awaited) and issubclass(awaited, Awaitable):
        return (Any, *get_args(annotation))[-1]
    return annotation


def _type_of(annotation: Any, names: Mapping[str, Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return get_type_hints(holder, dict(names), include_extras=True)["it"]
    except (AttributeError, NameError, SyntaxError, TypeError):
        return annotation


def _globals_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    function = inspect.unwrap(function)
    while (inner := getattr(function, "func", None)) is not None:  # functools.partial
        function = inspect.unwrap(inner)
    if inspect.isclass(function):
        function = cast("Callable[..., Any]", function.__init__)
    elif not hasattr(function, "__globals__"):
        function = type(function).__call__
    return getattr(function, "__globals__", {})


def _evaluate(annotation: str, names: _Names) -> Any:
    try:
        return eval(annotation, {}, names)  # noqa: S307 - as typing.get_type_hints does
    except (AttributeError, NameError, SyntaxError, TypeError):
        return annotation


class Annotation:
    """A base class for metadata in `Annotated[T, ...]`, given as a class or an instance."""

    @classmethod
    def annotated_parameters(cls, function: Callable[..., Any]) -> dict[str, Self]:
        """Return the annotations of this class on a function's parameters, by parameter."""
        found: dict[str, Self] = {}
        for name, metadata in annotated_metadata(function).items():
            for item in metadata:
                if isinstance(item, cls):
                    found[name] = item
                elif inspect.isclass(item) and issubclass(item, cls):
                    found[name] = item()
        return found


class Logged(Annotation):
    """Show the argument in the log; arguments without this annotation are shown as `...`.

    Args:
        length_only: show only its length: `[len 2]`, `{len 2}` for a mapping or a set, `(len 2)`
            for a tuple.
    """

    def __init__(self, length_only: bool = False) -> None:
        self.length_only = length_only

    def format(self, argument: Any) -> str:
        """Return the argument as shown in the log."""
        if not self.length_only:
            return repr(argument)
        if not isinstance(argument, Sized):
            return "..."
        if isinstance(argument, (dict, set, frozenset, Mapping)):
            return f"{{len {len(cast(Sized, argument))}}}"
        if isinstance(argument, tuple):
            return f"(len {len(cast(Sized, argument))})"
        return f"[len {len(argument)}]"


def on_one_line(text: str) -> str:
    """Return `text` with unprintable characters escaped, as \\x1b, for a line of the log.

    Keys and arguments may contain anything: a line break could forge a log line, and an escape
    sequence could manipulate the reader's terminal.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class CallFormat:
    """The log format of a function's calls, compiled once from its signature."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._logged = Logged.annotated_parameters(function)
        parameters = signature_of(function).parameters.values()
        self._positional = [
            p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        kinds = {p.kind: p.name for p in parameters}
        self._rest = kinds.get(inspect.Parameter.VAR_POSITIONAL)
        self._rest_by_name = kinds.get(inspect.Parameter.VAR_KEYWORD)
        self._named = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}

    def __call__(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Return a call as shown in the log: `the_task(1, b=2)`.

        Args:
            name: the name of the task; a function can be registered under several.
            args: the positional arguments.
            kwargs: the keyword arguments.
        """
        shown = [self._show(self._parameter_at(i), argument) for i, argument in enumerate(args)]
        shown += [
            f"{key}={self._show(key if key in self._named else self._rest_by_name, argument)}"
            for key, argument in kwargs.items()
        ]
        return f"{name}({', '.join(shown)})"

    def _parameter_at(self, position: int) -> str | None:
        return self._positional[position] if position < len(self._positional) else self._rest

    def _show(self, parameter: str | None, argument: Any) -> str:
        logged = None if parameter is None else self._logged.get(parameter)
        return "..." if logged is None else logged.format(argument)
