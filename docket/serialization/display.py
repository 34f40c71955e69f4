"""The arguments of a stored call as text, without running code of anybody's."""

import msgspec

from docket.serialization.msgpack_codec import HEADER
from docket.serialization.pickle_codec import EMPTY_CALL

#: Stands for arguments that cannot be shown.
HIDDEN = "..."


def arguments_text(payload: bytes) -> str:
    """Return the arguments of a payload that is msgpack, `...` for those of a pickle."""
    if payload == EMPTY_CALL:
        return ""
    if not payload.startswith(HEADER):
        return HIDDEN
    try:
        args, kwargs = msgspec.msgpack.decode(payload[len(HEADER) :])
        named = [f"{name}={value!r}" for name, value in kwargs.items()]
        return ", ".join([*(repr(value) for value in args), *named])
    except (msgspec.MsgspecError, AttributeError, TypeError, ValueError, RecursionError):
        return HIDDEN
