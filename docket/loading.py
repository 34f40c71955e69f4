"""Loading of objects by a path of the form `module:attribute`."""

import importlib
from collections.abc import Callable
from typing import Any


def load_attribute(path: str, malformed: str = "not of the form module:attribute") -> Any:
    """Return the object at `module:attribute`.

    Args:
        path: the path.
        malformed: the message for a path of another form.

    Raises:
        ValueError: the path is not of that form.
        ImportError, AttributeError: there is no such module or attribute.
        Exception: any error that the module raises when imported.
    """
    module, colon, attribute = path.partition(":")
    if not (module and colon and attribute):
        raise ValueError(malformed)
    return getattr(importlib.import_module(module), attribute)


def load_function(path: str) -> Callable[..., Any]:
    """Return the function at `module:attribute`; raises as `load_attribute`, and TypeError."""
    function = load_attribute(path)
    if not callable(function):
        raise TypeError(f"a {type(function).__name__}, not a function")
    return function
