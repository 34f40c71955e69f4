"""Parameter annotations in `Annotated[T, ...]`, and `Logged`."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sized
from functools import lru_cache
from types import CellType, SimpleNamespace
from typing import (
    Annotated,
    Any,
    NamedTuple,
    Never,
    NoReturn,
    Self,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from msgspec import Struct

from docket.log_text import ARGUMENT, head, shown


class _Scope(NamedTuple):
    """The names that the annotations of a function may use: of its module, and of its closure."""

    module: dict[str, Any]
    closure: dict[str, Any]

    def evaluate(self, expression: ast.expr) -> Any:
        """Evaluate an expression of an annotation; raises whatever that raises."""
        code = compile(ast.Expression(expression), "<annotation>", "eval")
        return eval(code, self.module, self.closure)  # noqa: S307 - as typing.get_type_hints does


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
    stays a string, or keeps its metadata only.
    """
    signature = signature_of(function)
    parameters = list(signature.parameters.values())
    if not any(isinstance(parameter.annotation, str) for parameter in parameters):
        return signature
    scope = _scope_of(function)
    return signature.replace(
        parameters=[
            parameter.replace(annotation=_evaluated(parameter.annotation, scope))
            for parameter in parameters
        ]
    )


def _evaluated(annotation: Any, scope: _Scope) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        evaluated = scope.evaluate(ast.parse(annotation.strip(), mode="eval").body)
    except Exception:
        evaluated = annotation  # A type that exists for type checkers only, or free text.
    if not isinstance(evaluated, str):
        return evaluated
    metadata = _metadata_in_text(annotation, scope)
    return Annotated[Any, *metadata] if metadata else evaluated


def metadata_of(signature: inspect.Signature) -> dict[str, tuple[Any, ...]]:
    """Return the metadata of each parameter's `Annotated[T, ...]`, by name, where there is one."""
    return {
        name: metadata
        for name, parameter in signature.parameters.items()
        if (metadata := _metadata_of(parameter.annotation))
    }


def annotated_metadata(function: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
    """Return the metadata of each parameter's `Annotated[T, ...]`, by name, where there is one.

    Of string annotations (as with `from __future__ import annotations`) only the metadata is
    evaluated: the type may be one that exists for type checkers only.

    Raises:
        TypeError: the metadata of a parameter cannot be evaluated; the message names both.
    """
    scope = None
    found: dict[str, tuple[Any, ...]] = {}
    for name, parameter in signature_of(function).parameters.items():
        annotation = parameter.annotation
        try:
            if isinstance(annotation, str):
                scope = scope or _scope_of(function)
                metadata = _metadata_in_text(annotation, scope)
            else:
                metadata = _metadata_of(annotation)
        except Exception as error:
            # Constructors of the user's are called here, which may raise anything.
            raise TypeError(
                f"parameter {name!r} of {getattr(function, '__qualname__', repr(function))!r}: "
                f"what stands in {annotation!r} beside the type cannot be evaluated "
                f"({type(error).__name__}: {error}): its names must exist in the module at run "
                "time (not only under TYPE_CHECKING), or in the function's closure"
            ) from error
        if metadata:
            found[name] = metadata
    return found


def _metadata_of(annotation: Any) -> tuple[Any, ...]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        return (*_metadata_of(inner), *metadata)
    alias = annotation if origin is None else origin
    # Of a `type` statement, or of typing_extensions where Python has none.
    return _metadata_of(alias.__value__) if type(alias).__name__ == "TypeAliasType" else ()


def _metadata_in_text(text: str, scope: _Scope) -> tuple[Any, ...]:
    try:
        expression = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        if "Annotated" in text:
            raise
        return ()
    return _metadata_in(expression, scope)


def _metadata_in(annotation: ast.expr, scope: _Scope) -> tuple[Any, ...]:
    match annotation:
        case ast.Constant(value=str(quoted)):
            return _metadata_in_text(quoted, scope)
        case ast.Subscript(value=base, slice=ast.Tuple(elts=[inner, *metadata])) if _is_annotated(
            base, scope
        ):
            own = scope.evaluate(ast.Tuple(metadata, ast.Load(), **_POSITION))
            return (*_metadata_in(inner, scope), *own)
        case ast.Subscript(value=base) if found := _metadata_in_alias(base, scope):
            return found
        case _:
            return _metadata_in_alias(annotation, scope)


#: The place in a text that `compile` asks for of each expression.
_POSITION = {"lineno": 1, "col_offset": 0}


def _is_annotated(base: ast.expr, scope: _Scope) -> bool:
    try:
        return scope.evaluate(base) is Annotated
    except Exception:
        # Maybe imported for type checkers only; what it is shows all the same.
        return ast.unparse(base).rpartition(".")[2] == "Annotated"


def _metadata_in_alias(alias: ast.expr, scope: _Scope) -> tuple[Any, ...]:
    try:
        return _metadata_of(scope.evaluate(alias))
    except Exception:
        return ()  # A type that exists for type checkers only, or free text.


class ParameterTypes(Struct, frozen=True):
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
    scope = _scope_of(function)
    positional: list[str] = []
    named: dict[str, Any] = {}
    rest, rest_type, rest_by_name_type = None, Any, Any
    for name, parameter in signature_of(function).parameters.items():
        annotation = _type_of(parameter.annotation, scope)
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
    annotation = evaluated_return(function)
    if annotation in (NoReturn, Never):
        return Any
    awaited = get_origin(annotation) or annotation
    if inspect.isclass(awaited) and issubclass(awaited, Awaitable):
        return (Any, *get_args(annotation))[-1]
    return annotation


def evaluated_return(function: Callable[..., Any]) -> Any:
    """Return the annotation of what a function returns; `Any` if it has none."""
    return _type_of(signature_of(function).return_annotation, _scope_of(function))


def _type_of(annotation: Any, scope: _Scope) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return get_type_hints(holder, scope.module, scope.closure, include_extras=True)["it"]
    except (AttributeError, NameError, SyntaxError, TypeError):
        return annotation


def _scope_of(function: Callable[..., Any]) -> _Scope:
    function = inspect.unwrap(function)
    while (inner := getattr(function, "func", None)) is not None:  # functools.partial
        function = inspect.unwrap(inner)
    if inspect.isclass(function):
        function = cast("Callable[..., Any]", function.__init__)
    elif not hasattr(function, "__globals__"):
        function = type(function).__call__
    names: Iterable[str] = getattr(getattr(function, "__code__", None), "co_freevars", ())
    cells: Iterable[CellType] = getattr(function, "__closure__", None) or ()
    variables = zip(names, cells, strict=True)
    closure = {name: cell.cell_contents for name, cell in variables if _is_set(cell)}
    return _Scope(getattr(function, "__globals__", {}), closure)


def _is_set(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False  # Its variable is assigned later, or was deleted.


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
            return shown(argument)
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

    @property
    def shows_arguments(self) -> bool:
        """Return True if any parameter is Logged."""
        return bool(self._logged)

    def _parameter_at(self, position: int) -> str | None:
        return self._positional[position] if position < len(self._positional) else self._rest

    def _show(self, parameter: str | None, argument: Any) -> str:
        logged = None if parameter is None else self._logged.get(parameter)
        return "..." if logged is None else head(logged.format(argument), ARGUMENT)


#: Compiled once for each function. Bounded, since functions may be made at run time.
call_format_of = lru_cache(maxsize=1024)(CallFormat)


def shows_arguments(function: Callable[..., Any]) -> bool:
    """Return whether the log shows any argument of a function's calls."""
    try:
        return call_format_of(function).shows_arguments
    except (TypeError, ValueError):
        return False  # Its signature cannot be read.
