"""Docket(serializer="msgpack"): typed arguments and results, and nothing that can be executed."""

from __future__ import annotations

import functools
import logging
import pickle
import uuid
from asyncio import Future
from collections.abc import Awaitable, Coroutine, Hashable
from datetime import UTC, datetime
from typing import Any, Never, NoReturn

import pytest

from docket import Docket, Execution, ExecutionState, Retry
from docket.errors import DeserializationError, TaskError, UnfitValue
from docket.serialization.serializers import serializer_named
from docket.strike_rules import Operator, Strike
from tests.docket.serialization.test_msgpack_codec import Color, Line, Order, task_of
from tests.support.dockets import failure_of, finish, found, result_of

pytestmark = pytest.mark.anyio


async def place(order: Order, *lines: Line, color: Color = Color.RED) -> dict[str, Any]:
    assert isinstance(order, Order)
    assert all(isinstance(line, Line) for line in lines)
    return {"lines": len(lines), "color": color.value}


async def test_a_task_gets_its_arguments_in_its_own_types(docket: Docket) -> None:
    execution = await docket.add(place)(Order(uuid.UUID(int=1)), Line("a"), color=Color.RED)
    await finish(docket)

    assert await result_of(execution) == {"lines": 1, "color": "red"}
    stored = await found(docket, execution.key)
    assert stored.kwargs == {"color": Color.RED}


async def test_a_task_that_was_added_by_name_is_typed_as_well(docket: Docket) -> None:
    docket.register(place)

    with pytest.raises(UnfitValue, match="'order' of task 'place'"):
        await docket.add("place")("no order")


async def test_nothing_is_pickled(docket: Docket, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("pickle was used")

    for name in ("pickle.loads", "pickle.dumps", "cloudpickle.dumps"):
        monkeypatch.setattr(name, refuse)
    good = await docket.add(place)(Order(uuid.UUID(int=1)))
    bad = await docket.add(fails)()
    await finish(docket)

    assert await result_of(good) == {"lines": 0, "color": "red"}
    assert isinstance(await failure_of(bad), TaskError)


async def fails() -> None:
    raise LookupError("sold out")


async def test_an_exception_arrives_as_its_type_its_message_and_its_traceback(
    docket: Docket,
) -> None:
    execution = await docket.add(fails)()
    await finish(docket)

    error = await failure_of(execution)
    assert isinstance(error, TaskError)
    assert (error.type_name, error.message) == ("LookupError", "sold out")
    assert 'raise LookupError("sold out")' in error.traceback_text
    assert execution.error == "LookupError: sold out"


async def test_a_result_that_is_not_what_the_task_says_it_returns_fails_it(
    docket: Docket,
) -> None:
    async def liar() -> int:
        return "seven"  # type: ignore[return-value]

    execution = await docket.add(liar)()
    await finish(docket)

    error = await failure_of(execution)
    assert isinstance(error, TaskError)
    assert error.type_name == "UnfitValue"
    assert "The result of task 'liar' does not fit" in error.message


class Sheet:
    """A class that msgpack has no form for."""


def result_of_type(annotation: Any) -> Any:
    async def charge(customer: int) -> Any: ...

    charge.__annotations__["return"] = annotation
    return charge


@pytest.mark.parametrize(
    "annotation",
    [
        "OnlyForTypeCheckers[int]",
        "list[OnlyForTypeCheckers]",
        "OnlyForTypeCheckers | None",
        "Awaitable[OnlyForTypeCheckers]",
        "not an annotation",
        Sheet,
        Sheet | Line,
        set[int] | list[int],
    ],
)
async def test_a_result_that_could_never_be_stored_is_refused_at_registration(
    docket: Docket, annotation: Any
) -> None:
    task = result_of_type(annotation)

    for registering in (docket.register, docket.add):
        with pytest.raises(UnfitValue, match="The result of task 'charge' can never be stored"):
            registering(task)
    assert "charge" not in docket.tasks
    Docket("pickles").register(task)


@pytest.mark.parametrize(
    "annotation",
    [None, Any, object, Never, NoReturn, Hashable, Awaitable, Future, Coroutine[Any, Any, int]],
)
async def test_a_result_that_may_be_storable_is_not_refused(
    docket: Docket, annotation: Any
) -> None:
    docket.register(result_of_type(annotation))

    assert "charge" in docket.tasks


async def test_new_arguments_of_a_retry_and_a_retry_itself_work(docket: Docket) -> None:
    tries: list[uuid.UUID] = []

    async def flaky(number: uuid.UUID, retry: Retry = Retry(attempts=2)) -> int:
        tries.append(number)
        if retry.attempt == 1:
            raise ValueError("once")
        return retry.attempt

    execution = await docket.add(flaky)(uuid.UUID(int=3))
    await finish(docket)

    assert await result_of(execution) == 2
    assert tries == [uuid.UUID(int=3)] * 2


class Bomb:
    """Whoever unpickles it finds out."""

    def __reduce__(self) -> Any:
        return exec, ("raise AssertionError('a pickle was loaded')",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 5])
async def test_a_pickled_call_is_refused_and_not_loaded(docket: Docket, protocol: int) -> None:
    execution = await docket.add(place, key="k")(Order(uuid.UUID(int=1)))
    async with docket.redis() as redis:
        bomb = pickle.dumps(((Bomb(),), {}), protocol=protocol)
        await redis.hset(docket.runs_key("k"), "call", bomb)
    await finish(docket)

    error = await failure_of(execution)
    assert isinstance(error, TaskError)
    assert error.type_name == "DeserializationError"
    if protocol >= 2:
        assert "is a pickle, and this process reads msgpack only" in error.message
    with pytest.raises(DeserializationError):
        await docket.get_execution("k")


@pytest.mark.parametrize("task", [place, fails])
async def test_a_pickled_result_or_exception_is_refused_and_not_loaded(
    docket: Docket, task: Any
) -> None:
    args = (Order(uuid.UUID(int=1)),) if task is place else ()
    execution = await docket.add(task, key="k")(*args)
    await finish(docket)
    async with docket.redis() as redis:
        await redis.hset(docket.runs_key("k"), "result", pickle.dumps(Bomb()))

    error = await failure_of(execution)
    assert isinstance(error, DeserializationError)
    assert "It was not unpickled" in str(error)


async def test_a_pickling_docket_says_what_it_cannot_read(server: str, docket: Docket) -> None:
    await docket.add(place, key="k")(Order(uuid.UUID(int=1)))

    async with Docket(docket.name, server) as other:
        other.register(place)
        with pytest.raises(DeserializationError, match="uses serializer='msgpack'"):
            await other.get_execution("k")


async def test_a_parameter_that_changed_its_type_fails_its_task_and_says_which(
    docket: Docket,
) -> None:
    async def grows(value: int) -> None: ...

    execution = await docket.add(grows)(7)
    docket.register(task_of(uuid.UUID), names=["grows"])
    await finish(docket)

    error = await failure_of(execution)
    assert isinstance(error, TaskError)
    assert error.type_name == "DeserializationError"
    assert "'value' of task" in error.message


async def test_the_fallback_gets_plain_values(docket: Docket, server: str) -> None:
    seen: list[Any] = []

    async def fallback(*args: Any, **kwargs: Any) -> int:
        seen.append((args, kwargs))
        return len(args)

    execution = await docket.add(place)(Order(uuid.UUID(int=1)), color=Color.RED)
    async with Docket(docket.name, server, serializer="msgpack") as other:
        await finish(other, fallback_task=fallback)

        number = str(uuid.UUID(int=1))
        assert seen == [(({"number": number, "lines": []},), {"color": "red"})]
        assert await result_of(await found(other, execution.key)) == 1


def test_results_of_what_returns_an_awaitable_are_typed_by_what_that_gives() -> None:
    def awaitable() -> Awaitable[uuid.UUID]:
        raise NotImplementedError

    def coroutine() -> Coroutine[Any, Any, uuid.UUID]:
        raise NotImplementedError

    msgpack = serializer_named("msgpack")
    for task in (awaitable, coroutine):
        payload = msgpack.encode_result(task, uuid.UUID(int=1))
        assert msgpack.decode_result(task, payload) == uuid.UUID(int=1)


class Callee:
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    async def __call__(self, number: uuid.UUID) -> None: ...


@pytest.mark.parametrize(
    "task", [Callee(), functools.partial(task_of(uuid.UUID))], ids=["object", "partial"]
)
def test_any_callable_has_types(task: Any) -> None:
    msgpack = serializer_named("msgpack")

    payload = msgpack.encode_call(task, (uuid.UUID(int=1),), {})
    assert msgpack.decode_call(task, payload) == ((uuid.UUID(int=1),), {})
    with pytest.raises(UnfitValue):
        msgpack.encode_call(task, (1,), {})


async def test_executions_by_hand_are_typed_too(docket: Docket) -> None:
    unfit = Execution(docket, place, ("no order",), {}, "k", datetime.now(UTC), 1)
    for refused in (unfit.schedule, lambda: unfit.claim("me"), unfit.mark_as_completed):
        with pytest.raises(UnfitValue):
            await refused()

    docket.register(place)
    fit = Execution(docket, place, (Order(uuid.UUID(int=1)),), {}, "k", datetime.now(UTC), 1)
    assert await fit.claim("me")
    assert isinstance((await found(docket, "k")).args[0], Order)


async def test_a_strike_that_only_pickle_could_store_is_refused(docket: Docket) -> None:
    with pytest.raises(UnfitValue, match="A strike cannot hold"):
        await docket.strike("place", "color", "==", Color.RED)

    await docket.strike("place", "color", "==", "red")
    assert not docket.strike_list.is_empty


async def test_a_pickled_strike_is_passed_over_and_not_loaded(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    message = Strike("place", "color", Operator.EQUAL, "red").as_message()
    message[b"value"] = b"p" + pickle.dumps(Bomb())
    async with docket.redis() as redis:
        await redis.xadd(docket.keys.strikes, message)  # type: ignore[arg-type]

    with caplog.at_level(logging.WARNING):
        async with Docket(docket.name, docket.url, serializer="msgpack") as other:
            await other.wait_for_strikes_loaded()
            assert other.strike_list.is_empty
    assert "this process reads msgpack only" in caplog.text


def test_another_serializer_is_refused() -> None:
    with pytest.raises(ValueError, match="serializer must be one of pickle, msgpack, not 'json'"):
        Docket(serializer="json")  # type: ignore[arg-type]


async def test_a_task_without_arguments_or_result_stores_next_to_nothing(docket: Docket) -> None:
    async def bare() -> None: ...

    execution = await docket.add(bare)()
    await finish(docket)

    assert await result_of(execution) is None
    assert (await found(docket, execution.key)).state is ExecutionState.COMPLETED
