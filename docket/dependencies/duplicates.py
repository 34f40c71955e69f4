"""The rule for dependencies of a class that allows one (`single`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NoReturn, cast

import uncalled_for
from msgspec import Struct

from docket.dependencies.base import AnyDependency
from docket.dependencies.errors import DuplicateDependency
from docket.dependencies.handlers import PureCompletionHandler, PureFailureHandler

#: Internal base classes: a message about a second Retry names FailureHandler instead.
_INTERNAL: tuple[type[AnyDependency], ...] = (PureFailureHandler, PureCompletionHandler)


class Place(Struct, frozen=True):
    """A dependency, and the parameter or the name that it stands at."""

    name: str
    dependency: AnyDependency
    #: Whether it is one of the worker's, which surround the task.
    is_around: bool
    #: Whether a dependency asks for it, and not the task or the worker itself.
    is_nested: bool = False

    def __str__(self) -> str:
        return f"{self.name!r} of the {'worker' if self.is_around else 'task'}"


def refuse_duplicates(places: Sequence[Place]) -> None:
    """Refuse a second dependency of a class that allows one.

    Those that other dependencies ask for may stand beside one of the task: the first of them acts.
    Of a worker's and a task's only one is allowed, wherever it stands.

    Args:
        places: the dependencies of a task, in order, and those around it.

    Raises:
        DuplicateDependency: there are two.
    """
    for kind, number in Counter(type(place.dependency) for place in places).items():
        if kind.single and number > 1:
            _allow_one(kind, [place for place in places if type(place.dependency) is kind])
    for place in places:
        for kind in _single_classes(type(place.dependency)):
            _allow_one(kind, [other for other in places if isinstance(other.dependency, kind)])


def _allow_one(kind: type[AnyDependency], places: Sequence[Place]) -> None:
    own = [place for place in places if not place.is_nested]
    if len({place.is_around for place in places}) > 1:
        _refuse(kind, places)
    if len(own) > 1:
        _refuse(kind, own)


def _single_classes(kind: type[AnyDependency]) -> Iterator[type[AnyDependency]]:
    """Yield the single ones among a class and its bases, outermost first: the others inherit it."""
    for base in reversed(kind.__mro__):
        if issubclass(base, uncalled_for.Dependency) and base not in _INTERNAL:
            dependency = cast("type[AnyDependency]", base)
            if dependency.single:
                yield dependency


def _refuse(kind: type[AnyDependency], places: Sequence[Place]) -> NoReturn:
    rule = f"Only one {kind.__name__} dependency is allowed"
    names = [type(place.dependency).__name__ for place in places]
    is_mixed = len({type(place.dependency) for place in places}) > 1
    if len({place.is_around for place in places}) > 1:
        found = ", ".join(
            f"{place} ({name})" if is_mixed else str(place)
            for place, name in zip(places, names, strict=True)
        )
        words = "found" if is_mixed else "found at"
        raise DuplicateDependency(
            f"{rule}, but {words}: {found}. Declare it in one place (task or worker)",
            kind.__name__,
        )
    if is_mixed:
        raise DuplicateDependency(f"{rule}, but found: {', '.join(names)}", kind.__name__)
    raise DuplicateDependency(f"{rule} per task", kind.__name__)
