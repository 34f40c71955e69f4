"""Values of strikes as users write them: text, or TYPE:TEXT as in `int:5`.

Nothing is evaluated: TYPE is the name of a class, which is called with TEXT. Text that has a colon
itself is written with one before it, as in `:https://example.com`.
"""

import builtins
import importlib
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Any


def parse(value: str) -> Hashable:
    """Parse a value: what stands before the last colon names its type; without one, it is text.

    Raises:
        ValueError: there is no such type, or it does not accept the text.
    """
    name, colon, text = value.rpartition(":")
    if not colon or value.startswith(":"):
        return value.removeprefix(":")
    read = _reader(name)
    try:
        parsed = read(text)
        hash(parsed)
    except Exception as error:
        # The class may be anybody's, and its constructor may raise anything.
        raise ValueError(
            f"{text!r} is no {name} to compare with ({type(error).__name__}: {error})"
        ) from error
    return parsed


def parse_pair(values: str) -> tuple[Hashable, Hashable]:
    """Parse the two bounds of `between`, which a comma separates.

    Raises:
        ValueError: there are not two of them, or as `parse`.
    """
    bounds = values.split(",")
    if len(bounds) != 2 or values.startswith("("):  # such as (1, 5), which would be two texts
        raise ValueError("between needs a pair of values, as in int:1,int:5")
    return parse(bounds[0]), parse(bounds[1])


def _reader(name: str) -> Callable[[str], Any]:
    module_name, _, type_name = name.rpartition(".")
    try:
        module = importlib.import_module(module_name) if module_name else builtins
        found = getattr(module, type_name, None)
    except Exception as error:
        # User code that is imported may raise anything.
        raise ValueError(f"{name!r} is no type ({type(error).__name__}: {error})") from error
    if not isinstance(found, type):
        raise ValueError(
            f"{name!r} is no type: write TYPE:TEXT, with a builtin or module.type, as in int:5 or "
            "uuid.UUID:..., and a colon before text that has one itself"
        )
    return _OTHERWISE_READ.get(found, found)


#: Classes that do not mean their text when they are called with it.
_OTHERWISE_READ: dict[type, Callable[[str], Any]] = {
    bool: lambda text: text.lower() == "true",
    timedelta: lambda text: timedelta(seconds=float(text)),
}
