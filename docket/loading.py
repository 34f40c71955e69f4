"""Loads what a path of the form `module:attribute` names."""

import importlib
from collections.abc import Callable
from typing import Any


def load_attribute(path: str) -> Any:
    """The object at `module:attribute`.

    Raises:
        ValueError: the path is not of that form.
        ImportError, AttributeError, or what the module raises.
    """
    module, colon, attribute = path.partition(":")
    if not (module and colon and attribute):
        raise ValueError("not of the form module:attribute")
    return getattr(importlib.import_module(module), attribute)


def load_function(path: str) -> Callable[..., Any]:
    """The function at `module:attribute`; raises as `load_attribute`, and TypeError."""
    function = load_attribute(path)
    if not callable(function):
        raise TypeError(f"a {type(function).__name__}, not a function")
    return function
