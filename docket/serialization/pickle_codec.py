"""Payloads as pickle: the arguments, results and exceptions of tasks."""

import asyncio
import importlib
import pickle
from typing import Any, cast

from docket.errors import DeserializationError, PayloadTooLarge, TaskError
from docket.log_text import format_exception

#: Maximum payload in bytes: well under the server's limit (512 MB), so that one task can neither
#: fill a reply nor block the server for long.
MAX_PAYLOAD_BYTES = 32 * 1024 * 1024

#: Maximum exception in bytes, pickled; of a larger one type, message and traceback are kept.
MAX_ERROR_BYTES = 1024 * 1024
#: Longest traceback that is kept beside it then, in characters.
MAX_TRACEBACK = 65_536
#: Longest message of an exception that is stored as text, in characters.
MAX_MESSAGE = 4096

#: The call without arguments, pickled once because it is so common.
EMPTY_CALL = pickle.dumps(((), {}), protocol=5)

Call = tuple[tuple[object, ...], dict[str, object]]


def _dumps(value: object) -> bytes:
    try:
        payload = pickle.dumps(value, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError):
        pass  # Closures and lambdas are pickled by value, below.
    else:
        # pickle stores a script's own classes by their name in __main__, which is another module in
        # the process that reads it.
        if b"__main__" not in payload:
            return payload
    # Imported here, since few processes meet such a value.
    by_value: bytes = importlib.import_module("cloudpickle").dumps(value, protocol=5)
    return by_value


def check_size(payload: bytes, what: str) -> bytes:
    """Return the payload. Raises PayloadTooLarge if it has more than MAX_PAYLOAD_BYTES."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"{what} has {len(payload)} bytes, over the limit of {MAX_PAYLOAD_BYTES}: "
            "store it elsewhere and pass a reference"
        )
    return payload


def encode_value(value: object, what: str) -> bytes:
    """Encode any value; raises as `encode_call` does."""
    return check_size(_dumps(value), what)


def decode_value(payload: bytes, what: str) -> Any:
    """Decode any value; runs whatever code its writer put there. Raises DeserializationError."""
    return _loads(payload, what)


def encode_call(args: tuple[object, ...], kwargs: dict[str, object]) -> bytes:
    """Encode the arguments of a task.

    Raises:
        PayloadTooLarge: they are over MAX_PAYLOAD_BYTES.
        Exception: any error of pickle for a value that it cannot store.
    """
    if not args and not kwargs:
        return EMPTY_CALL
    return check_size(_dumps((args, kwargs)), "The call's arguments")


def decode_call(payload: bytes) -> Call:
    """Decode the arguments of a task.

    Raises:
        DeserializationError: the payload cannot be decoded here.
    """
    if payload == EMPTY_CALL:
        return (), {}
    value = _loads(payload, "arguments")
    match value:
        case (args, kwargs) if isinstance(args, tuple) and isinstance(kwargs, dict):
            return cast("Call", (args, kwargs))
        case _:
            pass
    raise DeserializationError(
        f"The arguments of the task are stored as {type(value).__name__}, not as a call: "
        "the record was not written by this library"
    )


def encode_result(value: object) -> bytes | None:
    """Encode the result of a task; None is not stored. Raises as `encode_call` does."""
    return None if value is None else check_size(_dumps(value), "The task's result")


def decode_result(payload: bytes | None) -> object:
    """Decode the result of a task. Raises DeserializationError."""
    return None if payload is None else _loads(payload, "result")


def encode_error(error: BaseException) -> bytes:
    """Encode an exception, so that it can be raised elsewhere.

    One that does not survive pickling (or is too large) is stored as a TaskError with its type's
    name, its message and the text of its traceback. So is a BaseException: a SystemExit or
    CancelledError, raised where the result is asked for, would end or cancel that program.
    """
    note = ""
    if isinstance(error, Exception):
        try:
            payload = _dumps(error)
            # Many exceptions with a constructor of their own can be pickled, but not unpickled.
            if len(payload) <= MAX_ERROR_BYTES and isinstance(pickle.loads(payload), Exception):
                return payload
        except BaseException as cause:
            # Pickling runs user code, which may raise anything.
            note = f"(stored as text: it could not be pickled, {type(cause).__name__})\n"
    text = format_exception(error)[-MAX_TRACEBACK:] + "\n" + note
    return _dumps(TaskError(type(error).__qualname__, error_message(error), text))


def error_message(error: BaseException) -> str:
    """Return the message of an exception as valid UTF-8, bounded; its __str__ may be broken."""
    try:
        return str(error)[:MAX_MESSAGE].encode(errors="replace").decode()
    except BaseException as cause:
        return f"<its message cannot be shown: {type(cause).__name__}>"


def decode_error(payload: bytes) -> BaseException:
    """Decode the exception of a failed task, or return a DeserializationError with the reason."""
    try:
        error = _loads(payload, "exception")
    except DeserializationError as cause:
        return cause
    if isinstance(error, BaseException):
        return error
    return DeserializationError(f"The stored exception is a {type(error).__name__}")


def _loads(payload: bytes, what: str) -> Any:
    try:
        return pickle.loads(payload)
    except (Exception, SystemExit, GeneratorExit, asyncio.CancelledError) as cause:
        # Unpickling runs constructors and imports, which may raise anything. KeyboardInterrupt is
        # not caught: a program that asks for a result may be run from a terminal.
        if payload.startswith(b"\xc1"):
            raise DeserializationError(
                f"What is stored as {what} is msgpack, and this process reads pickle: whoever "
                "wrote it uses serializer='msgpack', and this process serializer='pickle'. All "
                "processes of a docket use the same (--serializer)"
            ) from cause
        raise DeserializationError(
            f"The stored {what} cannot be read back: {type(cause).__name__}: {cause}"
        ) from cause
