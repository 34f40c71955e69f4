"""The arguments of a stored call as text, without running code of anybody's."""

import msgspec

from docket.serialization.msgpack_codec import HEADER
from docket.serialization.pickle_codec import EMPTY_CALL
from docket.serialization.raw_msgpack import Map, parts_of

#: Stands for arguments that cannot be shown.
HIDDEN = "..."
#: Up to so many bytes keys may collide: there are few, and it is four times as fast.
_SHORT = 512


def arguments_text(payload: bytes) -> str:
    """Return the arguments of a payload that is msgpack, `...` for those of a pickle.

    No dict is made of long ones: to put one together whose keys collide takes as long as its
    writer wants.
    """
    if payload == EMPTY_CALL:
        return ""
    if not payload.startswith(HEADER):
        return HIDDEN
    call = payload[len(HEADER) :]
    try:
        return _of_short(call) if len(call) <= _SHORT else _of_long(call)
    except (msgspec.MsgspecError, AttributeError, TypeError, ValueError, RecursionError):
        return HIDDEN


def _of_short(call: bytes) -> str:
    args, kwargs = msgspec.msgpack.decode(call)
    named = [f"{name}={value!r}" for name, value in kwargs.items()]
    return ", ".join([*map(repr, args), *named])


def _of_long(call: bytes) -> str:
    match parts_of(msgspec.Raw(call)):
        case [args, kwargs]:
            return ", ".join([*_positional(args), *_named(kwargs)])
        case _:
            return HIDDEN


def _positional(args: msgspec.Raw) -> list[str]:
    parts = parts_of(args)
    if parts is None or isinstance(parts, Map):
        raise TypeError("the arguments of a call are an array")
    return [_text(part) for part in parts]


def _named(kwargs: msgspec.Raw) -> list[str]:
    parts = parts_of(kwargs)
    if not isinstance(parts, Map):
        raise TypeError("the named arguments of a call are a map")
    return [
        f"{msgspec.msgpack.decode(name, type=str)}={_text(value)}" for name, value in parts.pairs
    ]


def _text(raw: msgspec.Raw, *, is_key: bool = False) -> str:
    match parts_of(raw):
        case None:
            return repr(msgspec.msgpack.decode(raw))
        case Map(pairs):
            shown = (f"{_text(key, is_key=True)}: {_text(value)}" for key, value in pairs)
            return f"{{{', '.join(shown)}}}"
        case items:
            inside = ", ".join(_text(item, is_key=is_key) for item in items)
            # A list cannot be a key: what was one is a tuple.
            return f"({inside}{',' * (len(items) == 1)})" if is_key else f"[{inside}]"
