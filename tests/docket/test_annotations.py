"""What stands in `Annotated`, and how a call looks in the log."""

from __future__ import annotations

import inspect
import typing  # noqa: F401 - for annotations that are text
from collections import OrderedDict
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from typing_extensions import TypeAliasType, TypeVar

from docket import ConcurrencyLimit, Docket
from docket.annotations import Annotation, CallFormat, Logged, annotated_metadata, signature_of
from docket.dependencies import Depends, compile_plan

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypeCheckers

T = TypeVar("T")


def provide() -> str:
    return "provided"


async def the_task(
    a: Annotated[int, Logged],
    secret: str,
    *rest: Annotated[int, Logged()],
    b: Annotated[int, Logged] = 0,
    hidden: int = 0,
    **more: Annotated[str, Logged],
) -> None: ...


def described(*args: Any, **kwargs: Any) -> str:
    return CallFormat(the_task)("the_task", args, kwargs)


def test_a_call_is_logged_with_what_is_logged_and_dots_for_the_rest() -> None:
    assert described(1, b=2) == "the_task(1, b=2)"
    assert described(1, "secret", b=2) == "the_task(1, ..., b=2)"
    assert described(1, secret="x", hidden=3) == "the_task(1, secret=..., hidden=...)"


def test_what_goes_to_the_rest_is_logged_as_the_rest_is_annotated() -> None:
    assert described(1, "secret", 3, 4, c="d") == "the_task(1, ..., 3, 4, c='d')"


def test_more_arguments_than_the_function_takes_are_shown_as_dots() -> None:
    async def one(a: Annotated[int, Logged]) -> None: ...

    assert CallFormat(one)("one", (1, 2), {"x": 3}) == "one(1, ..., x=...)"


def test_a_task_may_go_by_another_name() -> None:
    assert CallFormat(the_task)("other", (1,), {}) == "other(1)"


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ([1, 2], "[len 2]"),
        ("ab", "[len 2]"),
        ({1: 1, 2: 2}, "{len 2}"),
        ({1, 2}, "{len 2}"),
        (OrderedDict({1: 1}), "{len 1}"),
        (frozenset({1, 2}), "[len 2]"),
        (MappingProxyType({1: 1}), "[len 1]"),
        (range(3), "[len 3]"),
        ((1, 2), "(len 2)"),
        (2, "2"),
        (1.5, "1.5"),
        (None, "None"),
    ],
)
@pytest.mark.statement(21)
def test_only_the_length_is_shown_in_the_brackets_of_its_kind(argument: Any, shown: str) -> None:
    assert Logged(length_only=True).format(argument) == shown
    assert Logged().format(argument) == repr(argument)


@pytest.mark.statement(50)
def test_annotations_are_found_as_classes_and_as_instances() -> None:
    signature = inspect.signature(the_task, eval_str=True)
    found = Logged.annotated_parameters(signature)

    assert found.keys() == {"a", "rest", "b", "more"}
    assert all(isinstance(logged, Logged) for logged in found.values())
    assert Annotation.annotated_parameters(signature).keys() == found.keys()


LIMIT = ConcurrencyLimit(1)
Customer = Annotated[int, LIMIT]
ListFor = Annotated[list[T], LIMIT]
Aliased = TypeAliasType("Aliased", Customer)


def test_a_type_that_only_type_checkers_know_hides_nothing_beside_it() -> None:
    async def task(
        price: Annotated[OnlyForTypeCheckers, Logged],
        name: Annotated[OnlyForTypeCheckers, Depends(provide)],
        broken: Annotated[OnlyForTypeCheckers.attribute[int], Logged],
        called: Annotated[OnlyForTypeCheckers(5) | None, Logged],
        syntax: "not an annotation",  # noqa: F722
        plain: OnlyForTypeCheckers,
    ) -> None: ...

    assert annotated_metadata(task).keys() == {"price", "name", "broken", "called"}
    assert dict(compile_plan(task).outputs) == {"name": 0}


@pytest.mark.parametrize(
    "annotation",
    [
        "Annotated[OnlyForTypeCheckers[int], LIMIT]",
        "Annotated['OnlyForTypeCheckers', LIMIT, 5]",
        "'Annotated[OnlyForTypeCheckers, LIMIT]'",
        "typing.Annotated[int, LIMIT]",
        "not_imported.Annotated[int, LIMIT]",
        "\n Annotated[int, *[LIMIT]]",
        "Annotated[Annotated[OnlyForTypeCheckers, LIMIT], Logged]",
        "Annotated[Customer, Logged]",
        "Customer",
        "ListFor[OnlyForTypeCheckers]",
        "Aliased",
        Aliased,
        Annotated["OnlyForTypeCheckers", LIMIT],
    ],
)
def test_a_limit_is_found_whatever_the_type_beside_it_is(annotation: Any) -> None:
    async def task(customer: Any) -> None: ...

    task.__annotations__["customer"] = annotation

    assert annotated_metadata(task)["customer"][0] is LIMIT
    assert [gate.limit for gate in compile_plan(task).gates] == [LIMIT]


def test_a_limit_of_the_closure_is_found() -> None:
    limit = ConcurrencyLimit(1)

    async def task(customer: Annotated[OnlyForTypeCheckers, limit]) -> object:
        return limit, later

    plan = compile_plan(task)
    later = "assigned once the task was registered"

    assert [gate.limit for gate in plan.gates] == [limit]


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ("Annotated[str, Depends(local)]", "NameError: name 'local'"),
        ("Annotated[int, OnlyForTypeCheckers]", "NameError: name 'OnlyForTypeCheckers'"),
        ("Annotated[OnlyForTypeCheckers, ConcurrencyLimit(0)]", "ValueError"),
        ("Annotated[int, typing.no_such_limit]", "AttributeError"),
        ("'Annotated[int, Limit(1)]'", "NameError: name 'Limit'"),
        ("Annotated[int, ConcurrencyLimit(1)", "SyntaxError"),
    ],
)
def test_metadata_that_cannot_be_evaluated_is_refused_at_registration_by_name(
    annotation: str, reason: str
) -> None:
    async def task(customer: Any) -> None: ...

    task.__annotations__["customer"] = annotation

    with pytest.raises(TypeError, match=f"parameter 'customer' of '.*task': .*{reason}"):
        Docket().register(task)


def test_annotations_of_partials_classes_and_callable_objects_are_found() -> None:
    class Service:
        def __init__(self, a: Annotated[int, Logged]) -> None: ...

        def __call__(self, b: Annotated[int, Logged]) -> None: ...

    assert annotated_metadata(partial(partial(the_task, 1), 2)).keys() == {"rest", "b", "more"}
    assert annotated_metadata(Service).keys() == {"a"}
    assert annotated_metadata(Service(1)).keys() == {"b"}
    assert annotated_metadata(Service(1).__call__).keys() == {"b"}
    assert annotated_metadata(dict) == {}


def test_a_signature_that_python_cannot_show_is_taken_as_empty() -> None:
    assert not signature_of(dict).parameters
    with pytest.raises(TypeError):
        signature_of(5)


Item = TypeVar("Item")
Named = TypeAliasType("Named", Annotated[int, "named"])
Listed = TypeAliasType("Listed", Annotated[list[Item], "listed"], type_params=(Item,))
Plain = TypeAliasType("Plain", int)


def test_metadata_behind_an_alias_is_found_before_that_beside_it() -> None:
    async def task(a: Named, b: Annotated[Named, "beside"], c: Listed[int], d: Plain) -> None: ...

    assert annotated_metadata(task) == {"a": ("named",), "b": ("named", "beside"), "c": ("listed",)}
