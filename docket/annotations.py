"""Parameter annotations in `Annotated[T, ...]`, and `Logged`."""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sized
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Annotated, Any, ForwardRef, Self, cast, get_args, get_origin, get_type_hints


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


def positional_names(function: Callable[..., Any]) -> list[str]:
    """List the parameters of a callable that can be passed by position, in order."""
    parameters = signature_of(function).parameters.values()
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def evaluated_signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a callable with its string annotations evaluated.

    `from __future__ import annotations` makes all of them strings; one that cannot be evaluated
    stays a string.
    """
    signature = signature_of(function)
    parameters = list(signature.parameters.values())
    if not any(isinstance(parameter.annotation, str) for parameter in parameters):
        return signature
    names = _Names(_globals_of(function))
    return signature.replace(
        parameters=[
            parameter.replace(annotation=_evaluate(parameter.annotation, names))
            if isinstance(parameter.annotation, str)
            else parameter
            for parameter in parameters
        ]
    )


def metadata_of(signature: inspect.Signature) -> dict[str, tuple[Any, ...]]:
    """Return the metadata of each parameter's `Annotated[T, ...]`, by name, where there is one."""
    return {
        name: metadata
        for name, parameter in signature.parameters.items()
        if (metadata := _metadata(parameter.annotation))
    }


def annotated_metadata(function: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
    """Return the metadata of a function's parameters, by name, string annotations evaluated."""
    return metadata_of(evaluated_signature(function))


def _metadata(annotation: Any) -> tuple[Any, ...]:
    """Return the metadata of an annotation; that of an alias (`type X = Annotated[...]`) first."""
    for alias in (annotation, get_origin(annotation)):
        # Python's TypeAliasType and that of typing_extensions are different classes.
        if type(alias).__name__ == "TypeAliasType":
            return _metadata(alias.__value__)
    if get_origin(annotation) is not Annotated:
        return ()
    aliased, *metadata = get_args(annotation)
    return (*_metadata(aliased), *metadata)


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
    if get_origin(annotation) in (Awaitable, Coroutine):
        return get_args(annotation)[-1]
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
    def annotated_parameters(cls, signature: inspect.Signature) -> dict[str, Self]:
        """Return the annotations of this class in a signature, by parameter."""
        found: dict[str, Self] = {}
        for name, metadata in metadata_of(signature).items():
            for item in metadata:
                if isinstance(item, cls):
                    found[name] = item
                elif inspect.isclass(item) and issubclass(item, cls):
                    found[name] = item()
        return found


class Logged(Annotation):
    """Show the argument in the log; arguments without this annotation are shown as `...`.

    Args:
        length_only: show only its length: `[len 2]`, `{len 2}` for a dict or a set, `(len 2)` for
            a tuple; what has no length is shown as it is.
    """

    def __init__(self, length_only: bool = False) -> None:
        self.length_only = length_only

    def format(self, argument: Any) -> str:
        """Return the argument as shown in the log."""
        if not self.length_only or not isinstance(argument, Sized):
            return repr(argument)
        if isinstance(argument, (dict, set)):
            return f"{{len {len(cast(Sized, argument))}}}"
        if isinstance(argument, tuple):
            return f"(len {len(cast(Sized, argument))})"
        return f"[len {len(argument)}]"


class CallFormat:
    """The log format of a function's calls, compiled once from its signature."""

    def __init__(self, function: Callable[..., Any]) -> None:
        signature = evaluated_signature(function)
        self._logged = Logged.annotated_parameters(signature)
        parameters = signature.parameters.values()
        self._positional = positional_names(function)
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


#: Compiled once for each function. Bounded, since functions may be made at run time.
call_format_of = lru_cache(maxsize=1024)(CallFormat)
