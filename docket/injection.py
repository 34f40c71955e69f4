"""The classes and variables of `uncalled_for` that a plan has to know.

The only module that imports private names of that library, whose public functions merely make the
objects: pyproject.toml holds its minor version, and the tests show that these are the right ones.
"""

from typing import Any, TypeAlias

# pyright: reportPrivateUsage=false
from uncalled_for.frames import _CallArgument, _current_frame
from uncalled_for.functional import _Depends
from uncalled_for.introspection import _parameter_cache, _signature_cache
from uncalled_for.shared import _Shared

#: A call of a function whose own dependencies are resolved first; made by `Depends`. Equal calls
#: (the same function and bindings) are made once in each run.
Functional: TypeAlias = _Depends[Any]

#: The class itself.
depends_class: type[Functional] = _Depends

#: A function that is called once in each worker; made by `Shared`.
SharedFunctional: TypeAlias = _Shared[Any]

#: An argument of the task, by its name or by that of the dependency's own parameter.
Argument: TypeAlias = _CallArgument

#: The frame of the resolution in progress. The public way to set it takes a microsecond more.
current_frame_variable = _current_frame

#: What code may clear that changes the signature of a function. Nothing of ours is kept there.
parameter_cache = _parameter_cache
signature_cache = _signature_cache


def is_functional(dependency: object) -> bool:
    """Return whether `Depends` made it: a subclass may resolve in a way of its own."""
    return type(dependency) is _Depends


def is_shared(dependency: object) -> bool:
    """Return whether `Shared` made it."""
    return type(dependency) is _Shared
