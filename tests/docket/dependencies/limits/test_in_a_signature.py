"""What a signature says of limits, and what it may not say."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

import pytest

from docket import ConcurrencyLimit, Cooldown, Debounce, Depends, RateLimit, TaskArgument
from docket.dependencies import AdmissionBlocked, ConcurrencyBlocked, compile_plan
from docket.dependencies.limits import VALUE_LIMIT, text_of
from docket.store.limits import LimitKind, LimitRequest
from tests.support.runs import Run, resolution_of

SECOND = timedelta(seconds=1)


def limit_requests(function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[LimitRequest]:
    return resolution_of(Run(function, args, kwargs)).requests()


def test_a_default_counts_the_task_and_annotated_counts_the_value() -> None:
    async def task(
        x: Annotated[int, Cooldown(SECOND)],
        cooldown: Cooldown = Cooldown(2 * SECOND),
        debounce: Debounce = Debounce(SECOND),
        rate: RateLimit = RateLimit(3, per=SECOND),
        dropping: RateLimit = RateLimit(4, per=2 * SECOND, drop=True),
        slots: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=5),
        own: ConcurrencyLimit = ConcurrencyLimit("x"),
    ) -> None: ...

    assert {(w.kind.value, w.scope, w.a, w.b) for w in limit_requests(task, 7)} == {
        ("C", "x:7", 1000, 0),
        ("C", "task", 2000, 0),
        ("D", "task", 1000, 0),
        ("R", "task/1000", 3, 1000),
        ("V", "task/2000", 4, 2000),
        ("S", "task", 5, 0),
        ("S", "x:7", 1, 0),
    }


def test_a_scope_stands_before_what_is_counted() -> None:
    async def task(
        x: Annotated[int, Cooldown(SECOND, scope="a")],
        slots: ConcurrencyLimit = ConcurrencyLimit(scope="b"),
    ) -> None: ...

    assert {w.scope for w in limit_requests(task, x=7)} == {"a:x:7", "b:task"}


def test_an_argument_that_was_not_passed_limits_nothing() -> None:
    async def task(
        x: Annotated[int, RateLimit(1, per=SECOND)] = 1,
        slots: ConcurrencyLimit = ConcurrencyLimit("nowhere"),
    ) -> None: ...

    assert limit_requests(task) == []


def test_windows_of_no_length_limit_nothing() -> None:
    async def task(
        cooldown: Cooldown = Cooldown(timedelta(0)), debounce: Debounce = Debounce(timedelta(0))
    ) -> None: ...

    assert limit_requests(task) == []


def test_of_two_requests_for_the_same_thing_the_stricter_one_counts() -> None:
    async def task(
        a: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=3),
        b: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=2),
        c: Cooldown = Cooldown(SECOND),
        d: Cooldown = Cooldown(2 * SECOND),
    ) -> None: ...

    assert sorted(limit_requests(task), key=lambda w: w.kind.value) == [
        LimitRequest(LimitKind.COOLDOWN, "task", 2000),
        LimitRequest(LimitKind.SLOTS, "task", 2),
    ]


def test_a_limit_that_the_caller_replaces_does_not_count() -> None:
    async def task(slots: ConcurrencyLimit = ConcurrencyLimit()) -> None: ...

    assert limit_requests(task, slots=None) == []
    assert len(limit_requests(task)) == 1


def test_a_task_without_limits_has_none() -> None:
    async def task(x: int, y: int = TaskArgument("x")) -> None: ...

    assert compile_plan(task).gates == ()
    assert limit_requests(task, 1) == []


def test_a_task_with_nothing_but_annotated_limits_is_not_bare() -> None:
    async def task(x: Annotated[int, ConcurrencyLimit(1)]) -> None: ...

    assert not compile_plan(task).bare


def test_only_one_debounce_may_stand_in_a_signature() -> None:
    async def task(x: Annotated[int, Debounce(SECOND)], d: Debounce = Debounce(SECOND)) -> None: ...

    with pytest.raises(ValueError, match="Only one Debounce dependency is allowed per task"):
        compile_plan(task)


def test_a_value_of_a_dependency_cannot_be_counted() -> None:
    async def nested(x: Annotated[int, ConcurrencyLimit(1)] = TaskArgument()) -> int:
        return x

    async def task(x: int, y: int = Depends(nested)) -> None: ...

    with pytest.raises(ValueError, match="ConcurrencyLimit at parameter 'x' of Depends"):
        compile_plan(task)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConcurrencyLimit(max_concurrent=0), "max_concurrent must be at least 1, got 0"),
        (lambda: ConcurrencyLimit(0), "max_concurrent must be at least 1, got 0"),
        (lambda: RateLimit(0, per=SECOND), "limit of a RateLimit must be at least 1, got 0"),
        (lambda: RateLimit(1, per=timedelta(0)), "period of a RateLimit must be positive"),
        (lambda: Cooldown(-SECOND), "window of a Cooldown must not be negative"),
        (lambda: Debounce(-SECOND), "settle time of a Debounce must not be negative"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_scope_that_is_kept_for_pauses_is_refused() -> None:
    with pytest.raises(ValueError, match=r"may not begin with '\\x1f', as '\\x1fpaused:f'"):
        ConcurrencyLimit(scope="\x1fpaused:f")


def test_the_smallest_window_is_a_millisecond() -> None:
    async def task(cooldown: Cooldown = Cooldown(timedelta(microseconds=1))) -> None: ...

    assert limit_requests(task) == [LimitRequest(LimitKind.COOLDOWN, "task", 1)]


def test_a_long_value_is_known_by_its_digest() -> None:
    texts = {text_of("a" * n) for n in range(VALUE_LIMIT - 3, VALUE_LIMIT + 4)}

    assert len(texts) == 7
    assert max(map(len, texts)) == VALUE_LIMIT
    assert text_of("\ud800") == "\\ud800"


@pytest.mark.statement(41)
def test_what_blocks_a_task_says_so() -> None:
    execution: Any = Run(test_what_blocks_a_task_says_so)
    blocked = ConcurrencyBlocked(execution, "{d}:slots:x", 2)

    assert isinstance(blocked, AdmissionBlocked)
    assert str(blocked) == "Task the-key blocked by concurrency limit (2 max) on {d}:slots:x"
    assert (blocked.concurrency_key, blocked.max_concurrent) == ("{d}:slots:x", 2)
    assert (blocked.handled, blocked.reschedule, blocked.retry_delay) == (False, True, None)
