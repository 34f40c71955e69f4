"""Strikes as values, and as they are stored: pure, without a connection.

The public names are exported by docket.strikelist.
"""

from __future__ import annotations

import logging
import operator as compare
import reprlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

from docket.clock import from_microseconds
from docket.errors import DeserializationError, PayloadTooLarge, UnfitValue
from docket.log_text import CALL, head
from docket.log_text import shown as shown_value
from docket.remarks import remark
from docket.serialization import pickle_codec, typed_values
from docket_display.printable import on_one_line

logger = logging.getLogger("docket.strikelist")

#: Most bytes of the value of a strike: every process of the docket reads and keeps it.
MAX_VALUE_BYTES = 1024 * 1024


class Operator(StrEnum):
    """The comparison of an argument with the value of a strike."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    GREATER_THAN = ">"
    GREATER_THAN_OR_EQUAL = ">="
    LESS_THAN = "<"
    LESS_THAN_OR_EQUAL = "<="
    BETWEEN = "between"


LiteralOperator: TypeAlias = Literal["==", "!=", ">", ">=", "<", "<=", "between"]


def _is_between(argument: Any, bounds: Any) -> bool:
    lower, upper = bounds
    return lower <= argument <= upper


_COMPARISONS: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQUAL: compare.eq,
    Operator.NOT_EQUAL: compare.ne,
    Operator.GREATER_THAN: compare.gt,
    Operator.GREATER_THAN_OR_EQUAL: compare.ge,
    Operator.LESS_THAN: compare.lt,
    Operator.LESS_THAN_OR_EQUAL: compare.le,
    Operator.BETWEEN: _is_between,
}


class Rule(NamedTuple):
    """The rule that an instruction strikes or restores; equal rules are the same strike."""

    function: str | None
    parameter: str | None
    operator: Operator
    value: Hashable


@dataclass(frozen=True)
class StrikeInstruction:
    """A strike or its restoration.

    Attributes:
        function: the name of the task; None for all tasks.
        parameter: the parameter to compare; None for every call.
        operator: the comparison of its argument with `value`.
        value: the value to compare with.
        reason: the reason, for people; None for none.
        by: its author, for people; None for nobody.
    """

    direction: ClassVar[str]
    verb: ClassVar[str]

    function: str | None
    parameter: str | None
    operator: Operator
    value: Hashable
    # Remarks make no difference to what is struck.
    reason: str | None = field(default=None, kw_only=True, compare=False)
    by: str | None = field(default=None, kw_only=True, compare=False)

    def __str__(self) -> str:
        return f"{self.verb} {head(self.call_repr(), CALL)!r}"

    @property
    def rule(self) -> Rule:
        """The rule that it strikes or restores; operator and value need a parameter."""
        if self.parameter is None:
            return Rule(self.function, None, Operator.EQUAL, None)
        return Rule(self.function, self.parameter, self.operator, self.value)

    def call_repr(self) -> str:
        """The matching calls in readable form: `send(customer == 'x')`."""
        if self.parameter is None:
            return f"{self.function or '*'}(* == *)"
        condition = f"{self.parameter} {self.operator.value} {shown_value(self.value)}"
        return f"{self.function or '*'}({condition})"

    def labels(self) -> dict[str, str]:
        """Return the labels of this instruction in traces."""
        labels = {} if self.function is None else {"docket.task": self.function}
        if self.parameter is not None:
            labels["docket.parameter"] = self.parameter
            labels["docket.operator"] = self.operator.value
            labels["docket.value"] = shown_value(self.value)
        return labels

    def is_storable(self) -> bool:
        """Return whether its value can be used in a strike; log one that cannot."""
        try:
            hash(self.rule)
        except TypeError as error:
            log_incompatible(self.operator, self.value, error)
            return False
        return True

    def as_message(self, *, may_pickle: bool = True) -> dict[bytes, bytes]:
        """Return the instruction as stored.

        Raises:
            UnfitValue: only pickle could store the value, and it must not be used.
            PayloadTooLarge: the value is over the size limit.
            TypeError, ValueError: a reason or an author that is no text, or too long.
            Exception: any error of pickle for a value that it cannot store.
        """
        rule = self.rule
        message = {b"direction": self.direction.encode(), b"operator": rule.operator.value.encode()}
        if rule.function is not None:
            message[b"function"] = rule.function.encode()
        if rule.parameter is not None:
            message[b"parameter"] = rule.parameter.encode()
        value = _encode(rule.value, may_pickle=may_pickle)
        message[b"value"] = _check_size(value)
        # Readers of earlier versions read the other fields only.
        for name in ("reason", "by"):
            if (text := remark(name, getattr(self, name))) is not None:
                message[name.encode()] = text.encode()
        return message


@dataclass(frozen=True, slots=True)
class StrikeRecord:
    """A strike in effect, as it was issued.

    Attributes:
        function: the name of the task; None for all tasks.
        parameter: the parameter that decides; None for every call.
        operator: the comparison of its argument with `value`.
        value: the value to compare with; None if it is not readable.
        is_readable: False if the value is a pickle, which only workers read.
        since: the time at which it was issued, by the server's clock.
        reason: the reason that was given, if any.
        by: the name that was given of who issued it, if any.
    """

    function: str | None
    parameter: str | None
    operator: Operator
    value: Hashable
    is_readable: bool
    since: datetime
    reason: str | None
    by: str | None


class Strike(StrikeInstruction):
    """The instruction to neither schedule nor run matching calls."""

    direction = "strike"
    verb = "Striking"


class Restore(StrikeInstruction):
    """The instruction to take back a strike."""

    direction = "restore"
    verb = "Restoring"


#: Makes the instruction of a message, or returns None if it cannot be read.
Reader: TypeAlias = "Callable[[Mapping[bytes, bytes]], StrikeInstruction | None]"
#: The fields that tell one strike from another.
_SUBJECT = (b"function", b"parameter", b"operator", b"value")

_DIRECTIONS: dict[bytes, type[StrikeInstruction]] = {b"strike": Strike, b"restore": Restore}


def from_message(
    message: Mapping[bytes, bytes],
    *,
    may_unpickle: bool = False,
    own_pickles: Mapping[bytes, Hashable] = MappingProxyType({}),
    level: int = logging.WARNING,
) -> StrikeInstruction | None:
    """Return the instruction in a message; None, and logged, if this process cannot read it.

    Args:
        message: as it is in the stream.
        may_unpickle: whether a pickle is read, which runs whatever its writer put there.
        own_pickles: values by their pickle, which are known without reading it.
        level: the level at which it is logged.
    """
    try:
        stored = _check_size(message[b"value"])
        function, parameter = message.get(b"function"), message.get(b"parameter")
        instruction = _DIRECTIONS[message[b"direction"]](
            None if function is None else function.decode(),
            None if parameter is None else parameter.decode(),
            Operator(message[b"operator"].decode()),
            own_pickles[stored]
            if stored in own_pickles
            else _decode(stored, may_unpickle=may_unpickle),
        )
        hash(instruction.rule)
        return instruction
    except Exception as error:
        # The entry may hold anything, and an error may quote it.
        logger.log(
            level,
            "A strike instruction cannot be read (%s: %s): it has no effect in this process",
            type(error).__name__,
            _quoted(error),
        )
        return None


def records(
    entries: Iterable[tuple[bytes, Mapping[bytes, bytes]]], read: Reader
) -> list[StrikeRecord]:
    """Return the strikes in effect after these instructions, the last one issued last.

    Args:
        entries: id and message of each, in the order of the stream.
        read: makes the instruction of a message; None if this process cannot read it.
    """
    found: dict[Hashable, StrikeRecord] = {}
    for identity, message in entries:
        instruction = read(message)
        # What cannot be read is the same strike if its bytes are the same.
        rule = tuple(map(message.get, _SUBJECT)) if instruction is None else instruction.rule
        found.pop(rule, None)
        if message.get(b"direction") == Strike.direction.encode():
            record = _record(identity, message, instruction)
            found |= {} if record is None else {rule: record}
    return list(found.values())


def _record(
    identity: bytes, message: Mapping[bytes, bytes], instruction: StrikeInstruction | None
) -> StrikeRecord | None:
    """Make the record of a strike; None if not even its condition is one of ours."""
    try:
        operator = Operator(message.get(b"operator", b"").decode(errors="replace"))
    except ValueError:
        return None
    function, parameter, reason, by = (
        None if name not in message else message[name].decode(errors="backslashreplace")
        for name in (b"function", b"parameter", b"reason", b"by")
    )
    since = from_microseconds(1000 * int(identity.partition(b"-")[0]))
    value = None if instruction is None else instruction.rule.value
    return StrikeRecord(
        function, parameter, operator, value, instruction is not None, since, reason, by
    )


# The first byte of a stored value says its form: plain msgpack and tuples, as it always was; with
# the names of types; or pickled.
_PLAIN, _TYPED, _PICKLED = b"m", b"t", b"p"


def is_pickled(message: Mapping[bytes, bytes]) -> bool:
    """Return whether the value in a message is stored as a pickle."""
    return message.get(b"value", b"")[:1] == _PICKLED


def _check_size(value: bytes) -> bytes:
    if len(value) > MAX_VALUE_BYTES:
        raise PayloadTooLarge(
            f"The strike's value has {len(value)} bytes, over the limit of {MAX_VALUE_BYTES}: "
            "strike by an argument that is shorter"
        )
    return value


def _encode(value: Hashable, *, may_pickle: bool) -> bytes:
    try:
        # The oldest form where it is enough: processes of earlier versions read it too.
        return _PLAIN + typed_values.encode_plain(value)
    except typed_values.Untyped:
        pass
    try:
        return _TYPED + typed_values.encode(value)
    except typed_values.Untyped as error:
        if not may_pickle:
            raise UnfitValue(
                f"A strike cannot hold {value!r}: only pickle could store it, and this docket uses "
                "msgpack"
            ) from error
    return _PICKLED + pickle_codec.encode_value(value, "The strike's value")


def _decode(payload: bytes, *, may_unpickle: bool) -> Hashable:
    match payload[:1]:
        case b"m":
            return typed_values.decode_plain(payload[1:])
        case b"t":
            return typed_values.decode(payload[1:])
        case b"p" if may_unpickle:
            return pickle_codec.decode_value(payload[1:], "value of a strike")
        case b"p":
            raise DeserializationError("its value is a pickle, and this process reads msgpack only")
        case _:
            raise DeserializationError("its value is of no form that is known here")


def compares(argument: Any, operator: Operator, value: Hashable) -> bool:
    """Return whether an argument compares so with a value; raises whatever the comparison does."""
    return bool(_COMPARISONS[operator](argument, value))


def log_incompatible(
    operator: Operator, value: object, error: Exception, *argument: object
) -> None:
    """Log a comparison of a strike that is not possible."""
    # reprlib: short, and safe with a broken __repr__.
    shown = " ".join([*map(reprlib.repr, argument), operator.value, reprlib.repr(value)])
    logger.warning("Incompatible type for strike condition: %s (%s)", shown, _quoted(error))


def _quoted(error: Exception) -> str:
    return on_one_line(head(str(error), CALL))
