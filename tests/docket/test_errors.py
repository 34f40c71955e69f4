"""The errors are one tree, tell their story, and survive the way through a record."""

import pickle

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from docket import errors
from docket.errors import DocketError, ServerUnavailable, TaskError, UnknownTask

OWN = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and error.__module__ == "docket.errors"
]


def test_every_error_is_a_docket_error_and_stands_in_the_drawn_tree() -> None:
    assert all(issubclass(error, DocketError) for error in OWN)
    assert all(error.__name__ in (errors.__doc__ or "") for error in OWN)


def test_what_a_caller_may_have_caught_before_is_caught_still() -> None:
    assert issubclass(ServerUnavailable, RedisConnectionError)
    assert issubclass(UnknownTask, KeyError)


@pytest.mark.parametrize(
    "error",
    [
        UnknownTask("the_task"),
        TaskError("SystemExit", "1", "Traceback ..."),
        ServerUnavailable("call on redis://: gone"),
    ],
)
def test_an_error_says_the_same_after_it_was_pickled(error: DocketError) -> None:
    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_an_unknown_task_says_what_it_is() -> None:
    (message,) = UnknownTask("x").args
    assert message.startswith("Task 'x' is not registered: pass its function instead of its name")
