"""Payloads as msgpack: plain data, decoded into the types that the tasks are annotated with.

For servers shared with others: reading a pickle runs whatever code its writer put there. Nothing
here unpickles, whatever the payload.

The values that arrive are the values sent: an argument that msgpack would change (a tuple without
an annotation into a list, a StrEnum for a `str` into its text, a time zone into UTC) is refused
when it is stored, so that the sender gets the error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast
from weakref import WeakKeyDictionary

import msgspec
from msgspec.inspect import CustomType, type_info

from docket.annotations import parameter_types, result_type
from docket.errors import DeserializationError, TaskError, UnfitValue
from docket.log_text import format_exception
from docket.serialization.pickle_codec import (
    MAX_MESSAGE,
    MAX_TRACEBACK,
    Call,
    check_size,
    error_message,
)
from docket.serialization.round_trip import difference

#: The first bytes of our payloads: no msgpack (0xC1 is unused) and no pickle begins with them.
HEADER = b"\xc1\x01"
#: The first byte of a pickle since protocol 2.
_PICKLE_HEADER = b"\x80"

_RawCall = tuple[list[msgspec.Raw], dict[str, msgspec.Raw]]
_encoder = msgspec.msgpack.Encoder()
#: Stored as they are by `to_builtins`, which would make text of them.
_BINARY = (bytes, bytearray, memoryview)
#: The types without an annotation of their own.
_PLAIN = (type(None), bool, int, float, str, bytes, list, dict)
_call_decoder = msgspec.msgpack.Decoder(_RawCall)
_EMPTY_CALL = HEADER + _encoder.encode(((), {}))


class _Failure(msgspec.Struct, frozen=True, array_like=True):
    """An exception as it is stored: data only."""

    type_name: str
    message: str
    traceback_text: str


_failure_decoder = msgspec.msgpack.Decoder(_Failure)


class _Slot:
    """A parameter or the result of a task, with its annotated type."""

    def __init__(self, described: str, annotation: Any) -> None:
        self._described = described
        self._annotation = annotation
        self._decoder: msgspec.msgpack.Decoder[Any] | None = None

    def check(self) -> None:
        """Check the annotation itself. Raises UnfitValue if no value of it can ever be stored."""
        try:
            self._made_decoder()
            match type_info(self._annotation):
                case CustomType(cls=cls) if not any(issubclass(plain, cls) for plain in _PLAIN):
                    raise TypeError("msgpack has no form for this class, except as a dataclass")
                case _:
                    pass
        except Exception as error:
            # The annotation may be anything, and its evaluation runs code of its own.
            raise UnfitValue(
                f"{self._described} can never be stored as msgpack, for its annotation is "
                f"{self._annotation!r}: {error}. Names must exist at run time (not only under "
                "TYPE_CHECKING)"
            ) from error

    def encode(self, value: object) -> bytes:
        """Encode the value as msgpack. Raises UnfitValue unless it decodes to the same value."""
        try:
            encoded = _encoder.encode(value)
            found = difference(value, self.decode(encoded))
            if found is not None and (as_text := self._with_offsets(value)) is not None:
                return as_text
        except DeserializationError as error:
            raise UnfitValue(f"{self._described} does not fit: {error.__cause__}") from error
        except Exception as error:
            # The value may be anything: recursive, too large, or raising errors of its own.
            raise UnfitValue(
                f"{self._described} cannot be stored as msgpack: {type(error).__name__}: {error}"
            ) from error
        if found is not None:
            raise UnfitValue(
                f"{self._described} does not fit: {found}. Annotate the parameter (or the result) "
                "with the type that is passed, or convert the value"
            )
        return encoded

    def _with_offsets(self, value: object) -> bytes | None:
        """Encode datetimes as text, which keeps their offset; None if that does not help either."""
        try:
            encoded = _encoder.encode(msgspec.to_builtins(value, builtin_types=_BINARY))
            return encoded if difference(value, self.decode(encoded)) is None else None
        except Exception:
            return None  # The difference that was found before tells the caller more.

    def decode(self, encoded: bytes | memoryview | msgspec.Raw) -> Any:
        """Decode the value. Raises DeserializationError."""
        try:
            return self._made_decoder().decode(encoded)
        except Exception as error:
            # The user's types are constructed here, which may raise anything.
            raise DeserializationError(
                f"{self._described} is stored as something else than what its annotation says: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _made_decoder(self) -> msgspec.msgpack.Decoder[Any]:
        if self._decoder is None:
            self._decoder = msgspec.msgpack.Decoder(self._annotation)
        return self._decoder


class _Shape:
    """The parameters and the result of one function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        name = getattr(function, "__name__", repr(function))
        types = parameter_types(function)
        self.task = name
        self._by_position = [self._slot(p, types.named[p]) for p in types.positional]
        self._by_name = {p: self._slot(p, t) for p, t in types.named.items()}
        self._rest = self._slot(types.rest or "args", types.rest_type)
        self._rest_by_name: dict[str, _Slot] = {}
        self._rest_by_name_type = types.rest_by_name_type
        self.result = _Slot(f"The result of task {name!r}", result_type(function))

    def _slot(self, parameter: str, annotation: Any) -> _Slot:
        return _Slot(f"Argument {parameter!r} of task {self.task!r}", annotation)

    def at(self, position: int) -> _Slot:
        """Return the slot of a positional argument."""
        return self._by_position[position] if position < len(self._by_position) else self._rest

    def named(self, name: str) -> _Slot:
        """Return the slot of a keyword argument."""
        return self._by_name.get(name) or self._slot(name, self._rest_by_name_type)


class MsgpackCodec:
    """The serializer `msgpack`."""

    def __init__(self) -> None:
        # Weak, since a fallback or a closure may be garbage collected.
        self._shapes: WeakKeyDictionary[Callable[..., Any], _Shape] = WeakKeyDictionary()

    def check(self, function: Callable[..., Any]) -> None:
        """Check the result's annotation, so that no task fails by it after its work is done.

        Raises:
            UnfitValue: it cannot be evaluated, or msgpack has no form for it.
        """
        self._shape(function).result.check()

    def encode_call(
        self,
        function: Callable[..., Any],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> bytes:
        """Encode the arguments of a task.

        Raises:
            UnfitValue: an argument does not fit its parameter; the message names it.
            PayloadTooLarge: together they are over the size limit.
        """
        if not args and not kwargs:
            return _EMPTY_CALL
        shape = self._shape(function)
        if len(kwargs) > 1 and len(set(map(str.__str__, kwargs))) < len(kwargs):
            # A subclass of str may compare in another way than the text that is stored.
            raise UnfitValue(
                f"Two arguments of task {shape.task!r} have the same name, and one would be lost: "
                f"{', '.join(map(repr, kwargs))}"
            )
        call = (
            [msgspec.Raw(shape.at(i).encode(value)) for i, value in enumerate(args)],
            {name: msgspec.Raw(shape.named(name).encode(v)) for name, v in kwargs.items()},
        )
        return check_size(HEADER + _encoder.encode(call), "The call's arguments")

    def decode_call(self, function: Callable[..., Any], payload: bytes) -> Call:
        """Decode the arguments of a task by its annotations. Raises DeserializationError."""
        if payload == _EMPTY_CALL:
            return (), {}
        args, kwargs = cast("_RawCall", _decoded(_call_decoder, payload, "arguments"))
        shape = self._shape(function)
        return (
            tuple([shape.at(i).decode(raw) for i, raw in enumerate(args)]),
            {name: shape.named(name).decode(raw) for name, raw in kwargs.items()},
        )

    def encode_result(self, function: Callable[..., Any], value: object) -> bytes | None:
        """Encode the result of a task; None is not stored. Raises as `encode_call` does."""
        if value is None:
            return None
        encoded = self._shape(function).result.encode(value)
        return check_size(HEADER + encoded, "The task's result")

    def decode_result(self, function: Callable[..., Any], payload: bytes | None) -> object:
        """Decode the result of a task by its annotation. Raises DeserializationError."""
        if payload is None:
            return None
        return self._shape(function).result.decode(_body(payload, "result"))

    def encode_error(self, error: BaseException) -> bytes:
        """Encode an exception as its type's name, its message and the text of its traceback."""
        if isinstance(error, TaskError):
            failure = _Failure(
                error.type_name,
                error.message[:MAX_MESSAGE],
                error.traceback_text[-MAX_TRACEBACK:],
            )
        else:
            text = format_exception(error)[-MAX_TRACEBACK:]
            text = text.encode(errors="replace").decode()
            failure = _Failure(type(error).__qualname__, error_message(error), text)
        return HEADER + _encoder.encode(failure)

    def decode_error(self, payload: bytes) -> BaseException:
        """Decode a TaskError that describes the task's exception, or a DeserializationError."""
        try:
            failure: _Failure = _decoded(_failure_decoder, payload, "exception")
        except DeserializationError as error:
            return error
        return TaskError(failure.type_name, failure.message, failure.traceback_text)

    def _shape(self, function: Callable[..., Any]) -> _Shape:
        try:
            shape = self._shapes.get(function)
        except TypeError:
            return _Shape(function)  # A callable object that cannot be hashed or weakly referenced.
        if shape is None:
            shape = self._shapes[function] = _Shape(function)
        return shape


def _body(payload: bytes, what: str) -> memoryview:
    if payload.startswith(HEADER):
        return memoryview(payload)[len(HEADER) :]
    if payload.startswith(_PICKLE_HEADER):
        raise DeserializationError(
            f"What is stored as {what} is a pickle, and this process reads msgpack only: whoever "
            "wrote it uses serializer='pickle', and this process serializer='msgpack'. All "
            "processes of a docket use the same (--serializer). It was not unpickled"
        )
    raise DeserializationError(f"What is stored as {what} was not written by serializer='msgpack'")


def _decoded(decoder: msgspec.msgpack.Decoder[Any], payload: bytes, what: str) -> Any:
    try:
        return decoder.decode(_body(payload, what))
    except (msgspec.DecodeError, RecursionError) as error:  # the latter: nested too deeply
        raise DeserializationError(
            f"What is stored as {what} cannot be read back: {error}"
        ) from error
