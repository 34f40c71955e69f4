"""Msgpack taken apart without a dict.

The hashes of numbers, and of tuples of them, can be foreseen. To put a dict together whose keys
have the same hash takes the square of their number, whoever sent it: of a megabyte, minutes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec


class Map(NamedTuple):
    """The keys and values of a map, in order."""

    pairs: Sequence[tuple[msgspec.Raw, msgspec.Raw]]


_parts = msgspec.msgpack.Decoder(list[msgspec.Raw])


def parts_of(raw: msgspec.Raw) -> Map | list[msgspec.Raw] | None:
    """Return the parts of a map or an array; None of anything else.

    Raises:
        DecodeError: it is no msgpack.
    """
    packed = bytes(raw)
    first = packed[0] if packed else 0
    if 0x90 <= first < 0xA0 or first in (0xDC, 0xDD):
        return _parts.decode(packed)
    # As the array of its keys and values, of which there are twice as many.
    if 0x80 <= first < 0x90:
        number, width = first & 0x0F, 1
    elif first == 0xDE:
        number, width = int.from_bytes(packed[1:3]), 3
    elif first == 0xDF:
        number, width = int.from_bytes(packed[1:5]), 5
    else:
        return None
    flat = _parts.decode(b"\xdd" + (2 * number % 2**32).to_bytes(4) + packed[width:])
    return Map(list(zip(flat[::2], flat[1::2], strict=True)))


__all__ = ["Map", "parts_of"]
