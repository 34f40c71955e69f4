"""Arguments, results and exceptions on their way through a record, the difficult ones above all."""

import asyncio
import os
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from redis.asyncio import Redis

from docket import Docket, ExecutionState
from docket.errors import DeserializationError, PayloadTooLarge, TaskError
from docket.serialization import pickle_codec
from tests.support.dockets import failure_of, finish, found, result_of, soon

pytestmark = pytest.mark.anyio


async def echo(value: Any = None) -> Any:
    return value


class Unpicklable:
    def __reduce__(self) -> NoReturn:
        raise ZeroDivisionError("this does not pickle")


class Raising:
    """Raises what it was given when it is pickled."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> NoReturn:
        raise self.error


class ExitsWhenRead(Exception):
    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return sys.exit, (4,)


class Interrupting(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class BreaksWhenRead:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return int, ("not a number",)


class NeedsTwo(Exception):
    """Pickles well and cannot be read back: a constructor of its own."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Mute(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError("no words")


class Locked(Exception):
    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()


@dataclass(frozen=True)
class Frozen(Exception):
    lock: object


async def test_closures_and_lambdas_go_by_value(docket: Docket) -> None:
    factor = 3

    class Local:
        times = factor

    execution = await docket.add(echo)([lambda n: n * factor, Local()])
    await finish(docket)

    function, instance = await result_of(execution)
    assert function(2) == 6
    assert instance.times == 3


SCRIPT = """
    import asyncio, sys
    from docket import Docket

    class Order:
        def __init__(self, number):
            self.number = number

    class Refused(Exception):
        pass

    async def main():
        async with Docket(sys.argv[1], sys.argv[2]) as docket:
            docket.register(print, names=["echo", "raise_it"])
            await docket.add("echo", key="order")(Order(17))
            await docket.add("raise_it", key="refused")(Refused("sold out"))

    asyncio.run(main())
"""


async def raise_it(error: Exception) -> NoReturn:
    raise error


async def test_what_a_script_defines_in_main_can_be_read_elsewhere(
    docket: Docket, server: str, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        docket.name,
        server,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert await soon(program.wait()) == 0
    docket.register(echo)
    docket.register(raise_it)

    await finish(docket)

    assert (await result_of(await found(docket, "order"))).number == 17
    refused = await failure_of(await found(docket, "refused"))
    assert (type(refused).__name__, str(refused)) == ("Refused", "sold out")


@pytest.mark.parametrize("argument", [Unpicklable(), threading.Lock(), (n for n in ())])
async def test_arguments_that_do_not_pickle_are_the_callers_error_and_nothing_is_scheduled(
    docket: Docket, argument: object
) -> None:
    with pytest.raises((ZeroDivisionError, TypeError), match=r"pickle"):
        await docket.add(echo, key="key")(argument)

    assert await docket.get_execution("key") is None
    assert (await finish(docket)).counters.started == 0


async def test_arguments_that_are_too_large_are_the_callers_error(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickle_codec, "MAX_PAYLOAD_BYTES", 1000)

    with pytest.raises(PayloadTooLarge, match="The call's arguments has "):
        await docket.add(echo, key="key")("x" * 1000)

    assert await docket.get_execution("key") is None


async def test_many_large_arguments_go_in_calls_that_are_not_too_large(docket: Docket) -> None:
    executions = await asyncio.gather(*[docket.add(echo)(bytes([n]) * 3_000_000) for n in range(4)])
    await finish(docket)

    assert [(await result_of(execution))[0] for execution in executions] == [0, 1, 2, 3]


async def test_a_payload_that_cannot_be_read_fails_its_own_task_only(
    docket: Docket, caplog: pytest.LogCaptureFixture
) -> None:
    broken = await docket.add(echo, key="broken")(BreaksWhenRead())
    good = await docket.add(echo)("good")

    worker = await finish(docket)

    error = await failure_of(broken)
    assert isinstance(error, DeserializationError)
    assert str(error).startswith("The stored arguments cannot be read back: ValueError: invalid")
    assert await result_of(good) == "good"
    assert (worker.counters.failed, worker.counters.succeeded) == (1, 1)
    assert any(
        "echo(...){broken}" in record.getMessage() and record.levelname == "ERROR"
        for record in caplog.records
    )
    with pytest.raises(DeserializationError):
        await docket.get_execution("broken")


@pytest.mark.parametrize(
    "payload",
    [b"", b"garbage", pickle_codec.encode_result([1, 2, 3]), pickle_codec.encode_result(((), 1))],
)
async def test_garbage_in_a_record_fails_its_own_task_only(docket: Docket, payload: bytes) -> None:
    await docket.add(echo, key="key")(1)
    client: Redis = docket.connections.client()
    await client.hset(docket.keys.record("key"), "call", payload)

    worker = await finish(docket)

    assert worker.counters.failed == 1
    execution = await client.hgetall(docket.keys.record("key"))
    assert execution[b"state"] == b"failed"
    assert execution[b"error"].startswith(b"DeserializationError: The ")


@pytest.mark.parametrize(
    ("make", "expected"),
    [(Unpicklable, ZeroDivisionError), (threading.Lock, TypeError)],
)
async def test_a_result_that_does_not_pickle_fails_the_task_and_is_logged(
    docket: Docket,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[], object],
    expected: type[Exception],
) -> None:
    async def returns_it() -> object:
        return make()

    execution = await docket.add(returns_it, key="key")()
    worker = await finish(docket)

    assert type(await failure_of(execution)) is expected
    assert worker.counters.failed == 1
    assert "What task key ended with cannot be stored, so it has failed" in caplog.messages


@pytest.mark.parametrize(
    "error", [SystemExit(1), asyncio.CancelledError(), GeneratorExit(), KeyboardInterrupt()]
)
async def test_a_result_that_would_end_the_program_when_it_is_pickled_fails_its_task_only(
    docket: Docket, error: BaseException
) -> None:
    async def returns_it() -> object:
        return Raising(error)

    bad, good = await docket.add(returns_it)(), await docket.add(echo)(1)
    worker = await finish(docket)

    told = await failure_of(bad)
    assert isinstance(told, TaskError)
    assert type(error).__qualname__ in str(told)
    assert await result_of(good) == 1
    assert worker.counters.failed == 1


@pytest.mark.parametrize("error", [ExitsWhenRead("out"), Interrupting("in")])
async def test_an_exception_that_would_end_the_program_fails_its_task_only(
    docket: Docket, error: Exception
) -> None:
    async def fails() -> NoReturn:
        raise error

    bad, good = await docket.add(fails)(), await docket.add(echo)(1)
    await finish(docket)

    await failure_of(bad)
    assert (bad.error or "").startswith(f"{type(error).__qualname__}: ")
    assert await result_of(good) == 1


async def test_a_result_that_would_end_the_program_when_it_is_read_is_refused(
    docket: Docket,
) -> None:
    async def returns_it() -> object:
        return ExitsWhenRead("out")

    execution = await docket.add(returns_it)()
    await finish(docket)
    with pytest.raises(DeserializationError, match="cannot be read back: SystemExit: 4"):
        await result_of(execution)


async def test_a_result_that_is_too_large_fails_the_task(
    docket: Docket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def large() -> str:
        return "x" * 10_000

    execution = await docket.add(large)()
    monkeypatch.setattr(pickle_codec, "MAX_PAYLOAD_BYTES", 5000)
    await finish(docket)

    error = await failure_of(execution)
    assert isinstance(error, PayloadTooLarge)
    assert "store it elsewhere and pass a reference" in str(error)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NeedsTwo(1, 2), "NeedsTwo: 1 and 2"),
        (Locked, "Locked: locked"),
        (lambda: Frozen(threading.Lock()), "Frozen: <unlocked _thread.lock"),
        (lambda: ValueError("x" * 5000), "ValueError: xxxx"),
    ],
)
async def test_an_exception_that_does_not_pickle_comes_back_as_its_text(
    docket: Docket, monkeypatch: pytest.MonkeyPatch, make: Callable[[], Exception], message: str
) -> None:
    monkeypatch.setattr(pickle_codec, "MAX_ERROR_BYTES", 5000)

    async def fails() -> NoReturn:
        raise make()

    execution = await docket.add(fails)()
    await finish(docket)

    error = await failure_of(execution)
    assert isinstance(error, TaskError)
    assert str(error).startswith(message)
    assert "in fails" in error.traceback_text
    assert execution.error is not None
    assert execution.error.startswith(message)
    assert len(execution.error) <= 4096


async def test_an_exception_that_cannot_say_what_it_is_fails_its_task_all_the_same(
    docket: Docket,
) -> None:
    async def fails() -> NoReturn:
        raise Mute

    execution = await docket.add(fails)()
    await finish(docket)

    assert isinstance(await failure_of(execution), Mute)
    assert execution.error == "Mute: <its message cannot be shown: ZeroDivisionError>"


def test_a_message_that_is_no_valid_text_is_shown_as_far_as_it_is() -> None:
    assert pickle_codec.error_message(ValueError("\ud800 half a pair")) == "? half a pair"


@pytest.mark.parametrize("stored", [b"garbage", pickle_codec.encode_result("not an exception")])
async def test_a_stored_exception_that_cannot_be_raised_says_so(
    docket: Docket, stored: bytes
) -> None:
    execution = await docket.add(raise_it, key="key")(ValueError("once"))
    await finish(docket)
    client: Redis = docket.connections.client()
    await client.hset(docket.keys.record("key"), "result", stored)

    assert isinstance(await failure_of(execution), DeserializationError)
    assert execution.state is ExecutionState.FAILED
