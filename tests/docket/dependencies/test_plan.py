"""A signature becomes a plan: pure, ordered, checked once."""

from datetime import timedelta
from functools import partial
from typing import Annotated

import pytest
import uncalled_for

from docket.dependencies import (
    CallArgument,
    CycleError,
    Dependency,
    Depends,
    Progress,
    Retry,
    TaskArgument,
    TaskKey,
    Timeout,
    compile_plan,
    get_dependency_parameters,
)
from docket.dependencies.functional import label


def labels(function):
    return [label(step.dependency) for step in compile_plan(function).steps]


def first() -> str:
    return "first"


def second(a: str = Depends(first)) -> str:
    return a


class Plain(Dependency[str]):
    async def __aenter__(self) -> str:
        return "plain"


class Unsupervised(Plain):
    single = True


def test_a_function_without_dependencies_is_bare() -> None:
    async def task(a: int, b: str = "b", *rest: int, c: None = None, **more: int) -> None: ...

    plan = compile_plan(task)

    assert plan.bare
    assert plan.steps == plan.outputs == ()
    assert plan.failure_handler is None


def test_a_function_with_a_dependency_is_not_bare() -> None:
    async def task(key: str = TaskKey()) -> None: ...

    assert not compile_plan(task).bare


def test_what_a_dependency_needs_comes_before_it() -> None:
    async def task(b: str = Depends(second), a: str = Depends(first)) -> None: ...

    plan = compile_plan(task)

    assert labels(task) == ["Depends(first)", "Depends(second)"]
    assert plan.outputs == (("b", 1), ("a", 0))
    assert plan.steps[1].inputs == (("a", 0),)


def test_calls_with_the_same_bindings_are_one_step_and_others_are_not() -> None:
    def load(number: int = 0) -> int:
        return number

    async def task(
        a: int = Depends(load),
        b: int = Depends(load),
        c: int = Depends(load, number=1),
        d: int = Depends(load, number=1),
        e: int = Depends(load, number=True),
        f: int = Depends(load, number=[]),
        g: int = Depends(load, number=([],)),
        h: int = Depends(load, number=TaskArgument("x", optional=True)),
        i: int = Depends(load, number=TaskArgument("x", optional=True)),
        j: int = Depends(load, number=TaskArgument("x")),
    ) -> None: ...

    outputs = dict(compile_plan(task).outputs)

    assert outputs["a"] == outputs["b"]
    assert outputs["c"] == outputs["d"]
    assert outputs["h"] == outputs["i"]
    assert len(set(outputs.values())) == 7


def test_one_instance_at_two_places_is_one_step() -> None:
    plain = Plain()

    def inner(p: str = plain) -> str:
        return p

    async def task(p: str = plain, i: str = Depends(inner)) -> None: ...

    assert len(compile_plan(task).steps) == 2


def test_a_circle_of_functions_is_a_cycle_error_that_shows_it() -> None:
    def one(x: object = None) -> None: ...

    def two(x: object = Depends(one)) -> None: ...

    one.__defaults__ = (Depends(two),)

    async def task(a: object = Depends(one)) -> None: ...

    with pytest.raises(CycleError, match="'task' need each other in a circle: one -> two -> one"):
        compile_plan(task)
    assert CycleError is uncalled_for.CycleError
    assert issubclass(CycleError, ValueError)


def test_a_function_that_binds_itself_is_a_cycle() -> None:
    def loop(x: object = None) -> None: ...

    async def task(a: object = Depends(loop)) -> None: ...

    loop.__defaults__ = (Depends(loop),)
    with pytest.raises(CycleError, match="loop -> loop"):
        compile_plan(task)


def test_siblings_that_want_each_other_are_a_cycle() -> None:
    def of_a(b: object = CallArgument()) -> None: ...

    def of_b(a: object = CallArgument()) -> None: ...

    async def task(a: object = Depends(of_a), b: object = Depends(of_b)) -> None: ...

    with pytest.raises(CycleError, match="of_a -> b -> of_b -> a -> of_a"):
        compile_plan(task)


def test_a_call_argument_at_its_own_parameter_is_a_cycle() -> None:
    async def task(a: object = CallArgument()) -> None: ...

    with pytest.raises(CycleError):
        compile_plan(task)


def test_a_parameter_that_is_passed_is_not_resolved_nor_what_it_alone_needs() -> None:
    async def task(a: int, b: str = Depends(second), key: str = TaskKey(), *rest: int) -> None: ...

    plan = compile_plan(task)

    assert plan.given((1,), {}) is plan
    assert dict(plan.given((1, "b"), {}).outputs).keys() == {"key"}
    assert plan.given((1, "b"), {}) is plan.given((1,), {"b": "c"})
    assert len(plan.given((1,), {"b": "c"}).steps) == 1
    assert plan.given((1, "b", "key", 3), {}).bare


def test_a_dependency_that_only_a_name_reaches_is_not_taken_for_a_positional_one() -> None:
    async def task(*rest: int, key: str = TaskKey()) -> None: ...

    plan = compile_plan(task)

    assert plan.given((1, 2, 3), {}) is plan


def test_only_one_of_a_single_class_is_allowed_and_the_class_is_named() -> None:
    async def twice(a: Retry = Retry(), b: Retry = Retry()) -> None: ...

    async def own(a: str = Unsupervised(), b: str = Unsupervised()) -> None: ...

    for task, name in (twice, "Retry"), (own, "Unsupervised"):
        with pytest.raises(ValueError, match=f"^Only one {name} dependency is allowed per task$"):
            compile_plan(task)


def test_a_single_dependency_that_hides_in_a_function_counts_for_the_task() -> None:
    def inner(retry: Retry = Retry(attempts=2)) -> None: ...

    async def task(retry: Retry = Retry(attempts=5), x: None = Depends(inner)) -> None: ...

    async def other(x: None = Depends(inner)) -> None: ...

    # One of the task's own goes before it.
    for function, attempts in ((task, 5), (other, 2)):
        plan = compile_plan(function)
        assert plan.failure_handler is not None
        handler = plan.steps[plan.failure_handler].dependency
        assert isinstance(handler, Retry)
        assert handler.attempts == attempts


def test_dependencies_that_are_not_single_may_come_twice() -> None:
    async def task(
        a: str = Plain(),
        b: str = Plain(),
        c: Progress = Progress(),
        d: Progress = Progress(),
    ) -> None: ...

    assert len(compile_plan(task).steps) == 4


def test_a_timeout_is_the_runtime_of_its_task() -> None:
    async def task(
        timeout: Timeout = Timeout(timedelta(seconds=1)), b: str = Depends(second)
    ) -> None: ...

    plan = compile_plan(task)

    assert plan.runtime == 0
    assert plan.outputs == (("timeout", 0), ("b", 2))


def test_an_annotated_dependency_counts_like_a_default() -> None:
    async def task(
        number: Annotated[int, "nothing of ours"],
        a: Annotated[str, Depends(first)],
        *,
        b: Annotated[str, "more", Depends(second)],
    ) -> None: ...

    assert dict(compile_plan(task).outputs) == {"a": 0, "b": 1}


def test_two_dependencies_at_one_parameter_are_refused() -> None:
    async def task(a: Annotated[str, Depends(first)] = Depends(second)) -> None: ...

    with pytest.raises(ValueError, match="parameter 'a' of 'task' has 2 dependencies: leave one"):
        compile_plan(task)


def test_a_dependency_that_no_name_can_reach_is_refused() -> None:
    async def task(a: str = Depends(first), /) -> None: ...

    with pytest.raises(ValueError, match="parameter 'a' of 'task' is positional-only"):
        compile_plan(task)


def test_a_binding_for_a_parameter_that_is_not_there_is_refused() -> None:
    async def task(a: str = Depends(first, colour="red")) -> None: ...

    with pytest.raises(
        TypeError, match=r"Depends\(first\): the function has no parameter 'colour'"
    ):
        compile_plan(task)


def test_a_binding_may_go_to_any_name_of_a_function_that_takes_all() -> None:
    def takes_all(**settings: object) -> object:
        return settings

    async def task(a: object = Depends(takes_all, colour="red")) -> None: ...

    assert compile_plan(task).steps[0].constants == {"colour": "red"}


def test_something_that_cannot_be_called_is_refused_at_registration() -> None:
    async def task(a: object = Depends(5)) -> None: ...

    with pytest.raises(TypeError, match="5 is not a callable"):
        compile_plan(task)


def test_partials_classes_and_builtins_can_be_depended_on() -> None:
    class Service:
        def __init__(self, name: str = Depends(first)) -> None:
            self.name = name

    async def task(
        a: object = Depends(partial(second, a="given")),
        b: Service = Depends(Service),
        c: object = Depends(dict),
    ) -> None: ...

    assert labels(task)[1:] == ["Depends(first)", "Depends(Service)", "Depends(dict)"]
    assert "partial" in labels(task)[0]


def test_the_dependencies_of_a_function_are_told_by_parameter() -> None:
    async def task(a: int, key: str = TaskKey(), retry: Retry = Retry()) -> None: ...

    assert list(get_dependency_parameters(task)) == ["key", "retry"]
