"""Signatures of tasks, in full and as the log of a worker shows them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, ForwardRef, get_args, get_origin

from docket.annotations import signature_of


def get_signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a task.

    Raises:
        TypeError: it is not callable.
    """
    return signature_of(function)


def compact_signature(signature: inspect.Signature) -> str:
    """Return the parameters that a caller gives: `message: str, times = 1, ...`.

    Three dots at the end stand for those that are dependencies.
    """
    parameters = signature.parameters.values()
    given = [_shown(each) for each in parameters if not _is_filled_in(each)]
    dots = ["..."] if len(given) < len(parameters) else []
    return ", ".join([*given, *dots])


def _is_filled_in(parameter: inspect.Parameter) -> bool:
    # Dependencies are async context managers; docket.dependencies, which has their class, is above.
    return isinstance(parameter.default, AbstractAsyncContextManager)


def _shown(parameter: inspect.Parameter) -> str:
    shown = parameter.name
    annotation: Any = parameter.annotation
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if annotation is not parameter.empty:
        shown += f": {annotation.__name__ if isinstance(annotation, type) else annotation}"
    if parameter.default is not parameter.empty:
        shown += f" = {parameter.default!r}"
    return shown
