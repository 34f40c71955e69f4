"""Whether a failed task runs again, and when, is decided as a value."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docket.dependencies import (
    Depends,
    ExponentialRetry,
    ForcedRetry,
    Retry,
)
from docket.dependencies.handlers import PureFailureHandler
from docket.lifecycle import Retried
from tests.support.runs import Run, execute, resolution_of

pytestmark = pytest.mark.anyio

ERROR = ValueError("of the task")


async def nothing() -> None: ...


def after_failure(retry: Retry, attempt: int, error: BaseException = ERROR) -> Retried | None:
    execution: Any = Run(nothing, attempt=attempt)
    return retry.after_failure(execution, error)


def test_a_failure_is_tried_again_until_the_attempts_are_used_up() -> None:
    retry = Retry(attempts=3, delay=timedelta(seconds=5))

    assert after_failure(retry, 1) == Retried(5.0, 2, error=ERROR)
    assert after_failure(retry, 2) == Retried(5.0, 3, error=ERROR)
    assert after_failure(retry, 3) is None


def test_by_default_there_is_one_attempt_and_no_delay() -> None:
    assert after_failure(Retry(), 1) is None
    assert after_failure(Retry(attempts=2), 1) == Retried(0.0, 2, error=ERROR)


def test_without_a_number_of_attempts_it_never_gives_up() -> None:
    for retry in Retry(attempts=None, delay=timedelta(0)), Retry.forever():
        assert after_failure(retry, 10**9) == Retried(0.0, 10**9 + 1, error=ERROR)
    assert Retry.forever(timedelta(seconds=2)).delay == timedelta(seconds=2)


def test_exponential_delays_double_up_to_the_maximum() -> None:
    retry = ExponentialRetry(
        attempts=None, minimum_delay=timedelta(seconds=1), maximum_delay=timedelta(seconds=10)
    )

    delays = [retry.delay_after(attempt).total_seconds() for attempt in (1, 2, 3, 4, 5, 6, 10**6)]

    assert delays == [1, 2, 4, 8, 10, 10, 10]


def test_exponential_retry_keeps_its_defaults_and_its_bounds() -> None:
    retry = ExponentialRetry.forever()

    assert (retry.attempts, retry.minimum_delay, retry.maximum_delay) == (
        None,
        timedelta(seconds=1),
        timedelta(seconds=64),
    )
    assert ExponentialRetry().attempts == 1
    assert after_failure(ExponentialRetry(attempts=2), 2) is None
    assert after_failure(ExponentialRetry(attempts=2), 1) == Retried(1.0, 2, error=ERROR)


class Refused(ConnectionError): ...


MAKERS = (Retry, ExponentialRetry)


@pytest.mark.parametrize("make", MAKERS)
def test_only_the_types_of_on_are_retried(make: Any) -> None:
    retry = make(attempts=2, on=(ConnectionError, TimeoutError))

    assert after_failure(retry, 1, Refused()) is not None
    assert after_failure(retry, 1, TimeoutError()) is not None
    assert after_failure(retry, 1, ERROR) is None
    assert after_failure(retry, 2, Refused()) is None
    assert after_failure(make(attempts=2, on=()), 1, ERROR) is None


@pytest.mark.parametrize("make", MAKERS)
def test_the_types_of_never_on_are_not_retried_even_if_on_has_them(make: Any) -> None:
    assert after_failure(make(attempts=2, never_on=ValueError), 1, ERROR) is None
    assert after_failure(make(attempts=2, never_on=ValueError), 1, KeyError()) is not None
    both = make(attempts=2, on=ConnectionError, never_on=Refused)
    assert after_failure(both, 1, ConnectionError()) is not None
    assert after_failure(both, 1, Refused()) is None


def test_a_group_is_judged_by_what_it_contains() -> None:
    def group(*errors: Exception) -> ExceptionGroup[Exception]:
        return ExceptionGroup("outer", [ExceptionGroup("inner", errors)])

    retry = Retry(attempts=2, on=(ConnectionError, ValueError), never_on=Refused)

    assert after_failure(retry, 1, group(KeyError(), ERROR)) is not None
    assert after_failure(retry, 1, group(KeyError())) is None
    assert after_failure(retry, 1, group(ERROR, Refused())) is None
    assert after_failure(Retry(attempts=2, on=ExceptionGroup), 1, group(ERROR)) is not None


def test_a_forced_retry_is_for_no_type_to_refuse() -> None:
    forced = ForcedRetry(timedelta(seconds=7))

    for retry in Retry(attempts=2, on=KeyError), Retry(attempts=2, never_on=Exception):
        assert after_failure(retry, 1, forced) == Retried(7.0, 2)


@pytest.mark.parametrize("make", MAKERS)
def test_without_limit_the_types_and_the_jitter_count_too(make: Any) -> None:
    retry = make.forever(timedelta(seconds=10), on=ValueError, never_on=UnicodeError, jitter=0.5)

    assert after_failure(retry, 10**9) is not None
    assert after_failure(retry, 1, KeyError()) is None
    assert after_failure(retry, 1, UnicodeError()) is None
    assert retry.jitter == 0.5


def test_a_subclass_with_arguments_of_its_own_still_has_forever() -> None:
    class Mine(Retry):
        def __init__(self, attempts: int | None = 1, delay: timedelta = timedelta(0)) -> None:
            super().__init__(attempts, delay)

    assert after_failure(Mine.forever(on=ValueError), 5) == Retried(0.0, 6, error=ERROR)
    assert after_failure(Mine.forever(on=KeyError), 5) is None


@given(jitter=st.floats(0, 1), attempt=st.integers(1, 20))
def test_jitter_shortens_a_delay_by_up_to_its_share(jitter: float, attempt: int) -> None:
    retry = ExponentialRetry.forever(jitter=jitter)
    whole = retry.delay_after(attempt).total_seconds()

    decided = after_failure(retry, attempt)

    assert decided is not None
    assert whole * (1 - jitter) - 1e-6 <= decided.delay_seconds <= whole


def test_delays_with_jitter_differ() -> None:
    retry = Retry(attempts=None, delay=timedelta(hours=1), jitter=1)

    delays = {decided.delay_seconds for _ in range(50) if (decided := after_failure(retry, 1))}

    assert len(delays) > 40


async def test_the_task_sees_the_delay_with_its_jitter_and_may_choose_another() -> None:
    async def task(retry: Retry = Retry(attempts=2, delay=timedelta(hours=1), jitter=1)) -> Any:
        return retry

    run = Run(task)
    execution: Any = run
    seen = await execute(run)
    decided = seen.after_failure(execution, ERROR)
    assert seen.delay < timedelta(hours=1)
    assert decided.delay_seconds == seen.delay.total_seconds()

    seen.delay = timedelta(seconds=3)
    assert seen.after_failure(execution, ERROR).delay_seconds == 3.0


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"on": "ValueError"}, TypeError, "on of a retry must be an exception type"),
        ({"on": (ValueError, 5)}, TypeError, "on of a retry must be an exception type"),
        ({"on": [ValueError]}, TypeError, "or a tuple of them, got .<class"),
        ({"never_on": int}, TypeError, "never_on of a retry must be an exception type"),
        ({"jitter": -0.1}, ValueError, "jitter of a retry must be between 0 and 1"),
        ({"jitter": 1.5}, ValueError, "jitter of a retry must be between 0 and 1"),
        ({"jitter": float("nan")}, ValueError, "jitter of a retry must be between 0 and 1"),
        ({"jitter": "much"}, TypeError, "jitter of a retry must be a number"),
    ],
)
@pytest.mark.parametrize("make", [*MAKERS, Retry.forever, ExponentialRetry.forever])
def test_types_and_jitter_are_checked_at_the_declaration(
    make: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        make(**options)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry(delay=timedelta(seconds=-1)),
        lambda: ExponentialRetry(minimum_delay=timedelta(seconds=-1)),
        lambda: ExponentialRetry(maximum_delay=timedelta(seconds=-1)),
    ],
)
def test_a_negative_delay_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        make()


async def test_the_task_sees_its_attempt_and_the_declaration_stays_as_it_is() -> None:
    declared = ExponentialRetry(attempts=5)

    async def task(retry: ExponentialRetry = declared) -> Any:
        return retry

    seen = await execute(Run(task, attempt=4))

    assert (type(seen), seen.attempt, seen.attempts, seen.delay) == (
        ExponentialRetry,
        4,
        5,
        timedelta(seconds=8),
    )
    assert (declared.attempt, declared.delay) == (1, timedelta(seconds=1))


def test_a_forced_retry_brings_its_own_delay_and_counts_as_an_attempt() -> None:
    retry = Retry(attempts=2, delay=timedelta(seconds=5))

    with pytest.raises(ForcedRetry) as caught:
        retry.in_(timedelta(seconds=30))

    assert after_failure(retry, 1, caught.value) == Retried(30.0, 2)
    assert after_failure(retry, 2, caught.value) is None
    assert str(caught.value) == ""


def test_after_is_another_name_for_in() -> None:
    with pytest.raises(ForcedRetry) as caught:
        Retry.forever().after(timedelta(seconds=3))
    assert caught.value.delay == timedelta(seconds=3)


def test_at_an_instant_is_the_time_until_then_and_at_once_when_it_has_passed() -> None:
    with pytest.raises(ForcedRetry) as caught:
        Retry.forever().at(datetime.now(UTC) + timedelta(hours=1))
    assert timedelta(minutes=59) < caught.value.delay <= timedelta(hours=1)

    with pytest.raises(ForcedRetry) as caught:
        Retry.forever().at(datetime.now(UTC) - timedelta(hours=1))
    assert caught.value.delay == timedelta(0)


def test_a_forced_retry_is_found_within_a_group() -> None:
    forced = ForcedRetry(timedelta(seconds=7))
    group = ExceptionGroup("g", [ERROR, ExceptionGroup("inner", [forced])])

    assert after_failure(Retry.forever(), 1, group) == Retried(7.0, 2)
    without = ExceptionGroup("g", [ERROR])
    assert after_failure(Retry.forever(), 1, without) == Retried(0.0, 2, error=without)


async def test_the_retry_is_asked_of_the_value_of_this_run() -> None:
    async def task(retry: Retry = Retry(attempts=3)) -> None:
        retry.in_(timedelta(seconds=9))

    run = Run(task, attempt=2)
    execution: Any = run
    resolution = resolution_of(run)

    with pytest.raises(ForcedRetry) as caught:
        async with resolution as kwargs:
            await task(**kwargs)
    handler = resolution.failure_handler()

    assert isinstance(handler, Retry)
    assert handler.attempt == 2
    assert handler.after_failure(execution, caught.value) == Retried(9.0, 3)


async def test_a_failed_resolution_is_retried_too() -> None:
    def broken() -> None:
        raise ERROR

    async def task(b: None = Depends(broken), retry: Retry = Retry(attempts=2)) -> None: ...

    run = Run(task)
    execution: Any = run
    resolution = resolution_of(run)

    with pytest.raises(ExceptionGroup) as caught:
        async with resolution:
            raise AssertionError("not reached")
    handler = resolution.failure_handler()

    assert handler is not None
    assert handler.after_failure(execution, caught.value) == Retried(0.0, 2, error=caught.value)


async def test_a_handler_of_ones_own_that_gives_the_task_another_value_still_decides() -> None:
    class OnlyOnce(PureFailureHandler[str]):
        async def __aenter__(self) -> str:
            return "a word"

        def after_failure(self, execution: Any, error: BaseException) -> Retried | None:
            return Retried(1.0, 2) if execution.attempt == 1 else None

    declared: Any = OnlyOnce()

    async def task(word: str = declared) -> str:
        return word

    run = Run(task)
    resolution = resolution_of(run)
    async with resolution as kwargs:
        assert await task(**kwargs) == "a word"

    assert resolution.failure_handler() is declared
