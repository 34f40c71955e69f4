"""Payloads: what tasks are called with and what they end with, as bytes and back."""

import asyncio
import pickle
import traceback
from typing import Any, cast

import cloudpickle

from docket.errors import DeserializationError, PayloadTooLarge, TaskError

#: Largest payload a client may store, in bytes: a limit of ours, well under the server's (512 MB),
#: so that one task can neither fill a reply nor block the server for long.
MAX_PAYLOAD_BYTES = 32 * 1024 * 1024

#: The call without arguments is so common that it is not pickled anew.
_EMPTY_CALL = pickle.dumps(((), {}), protocol=5)

Call = tuple[tuple[object, ...], dict[str, object]]


def _dumps(value: object) -> bytes:
    try:
        payload = pickle.dumps(value, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError):
        pass  # Closures and lambdas: by value, below.
    else:
        # pickle stores what a script defines as a name in __main__, which is another module in the
        # process that reads it.
        if b"__main__" not in payload:
            return payload
    return cast("Any", cloudpickle).dumps(value, protocol=5)


def check_size(payload: bytes, what: str) -> bytes:
    """The payload. Raises PayloadTooLarge if it has more than MAX_PAYLOAD_BYTES."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"{what} has {len(payload)} bytes, over the limit of {MAX_PAYLOAD_BYTES}: "
            "store it elsewhere and pass a reference"
        )
    return payload


def encode_call(args: tuple[object, ...], kwargs: dict[str, object]) -> bytes:
    """The arguments of a task.

    Raises:
        PayloadTooLarge: over MAX_PAYLOAD_BYTES.
        Exception: what pickle raises for a value that it cannot store.
    """
    if not args and not kwargs:
        return _EMPTY_CALL
    return check_size(_dumps((args, kwargs)), "The call's arguments")


def decode_call(payload: bytes) -> Call:
    """The arguments of a task.

    Raises:
        DeserializationError: the payload cannot be read back here.
    """
    if payload == _EMPTY_CALL:
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
    """What a task returned; None is stored as nothing. Raises as `encode_call` does."""
    return None if value is None else check_size(_dumps(value), "The task's result")


def decode_result(payload: bytes | None) -> object:
    """What a task returned. Raises DeserializationError."""
    return None if payload is None else _loads(payload, "result")


def encode_error(error: BaseException) -> bytes:
    """An exception, so that it can be raised elsewhere.

    One that does not survive pickling (or is too large) is stored as a TaskError that has its
    type's name, its message and its traceback's text. So is what is not an Exception: SystemExit
    or CancelledError, raised where somebody asks for the result, would end or stop that program.
    """
    note = ""
    if isinstance(error, Exception):
        try:
            payload = _dumps(error)
            # Many exceptions with a constructor of their own pickle well and cannot be read back.
            if len(payload) <= MAX_PAYLOAD_BYTES and isinstance(pickle.loads(payload), Exception):
                return payload
        except BaseException as cause:
            # Pickling runs the user's code, which may raise anything.
            note = f"(stored as text: it could not be pickled, {type(cause).__name__})\n"
    text = "".join(traceback.format_exception(error))[-65536:] + note
    return _dumps(TaskError(type(error).__qualname__, error_message(error)[:4096], text))


def error_message(error: BaseException) -> str:
    """What an exception says, as valid UTF-8; its own __str__ may be broken."""
    try:
        return str(error).encode(errors="replace").decode()
    except BaseException as cause:
        return f"<its message cannot be shown: {type(cause).__name__}>"


def decode_error(payload: bytes) -> BaseException:
    """The exception that a task failed with, or the DeserializationError that says why not."""
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
        # Unpickling runs constructors and imports: any exception can come out of it. Not so a
        # KeyboardInterrupt: who asks for a result has a terminal, perhaps.
        if payload.startswith(b"\xc1"):
            raise DeserializationError(
                f"The stored {what} is no pickle: whoever wrote it uses serializer='msgpack'"
            ) from cause
        raise DeserializationError(
            f"The stored {what} cannot be read back: {type(cause).__name__}: {cause}"
        ) from cause
