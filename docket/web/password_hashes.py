"""Passwords as they are kept: scrypt with a salt, `scrypt$N$r$p$salt$hash` (base64)."""

import hashlib
import hmac
import os
from base64 import b64decode, b64encode

#: 16 MiB and some 50 ms of a core for each try.
_N, _R, _P = 1 << 14, 8, 1
#: The most that is spent on a hash that somebody wrote into a file: bytes, and blocks that are
#: mixed (some seconds of a core).
_MOST_BYTES, _MOST_BLOCKS = 1 << 28, 1 << 25


def hashed(password: str) -> str:
    """Return the hash of a password, with a salt of its own."""
    salt = os.urandom(16)
    parts = ("scrypt", str(_N), str(_R), str(_P), _text(salt), _text(_scrypt(password, salt)))
    return "$".join(parts)


def is_hash(text: str) -> bool:
    """Return whether a text is a hash of ours."""
    try:
        _parsed(text)
    except ValueError:
        return False
    return True


def matches(password: str, kept: str) -> bool:
    """Return whether a password is the one of a hash. It takes a core some 50 ms.

    Raises:
        ValueError: it is no hash of ours.
    """
    n, r, p, salt, expected = _parsed(kept)
    return hmac.compare_digest(_scrypt(password, salt, n, r, p), expected)


def _parsed(text: str) -> tuple[int, int, int, bytes, bytes]:
    kind, *rest = text.split("$")
    if kind != "scrypt" or len(rest) != 5:
        raise ValueError("it is not of the form scrypt$N$r$p$salt$hash")
    n, r, p = (int(each) for each in rest[:3])
    salt, expected = (b64decode(each, validate=True) for each in rest[3:])
    if not (_is_sound(n, r, p) and salt and len(expected) == 32):
        raise ValueError("its numbers are out of bounds")
    return n, r, p, salt, expected


def _is_sound(n: int, r: int, p: int) -> bool:
    """Return whether scrypt takes these numbers, and what it takes for them is bounded."""
    is_power = n > 1 and not n & (n - 1)
    if not (is_power and r > 0 and p > 0 and (r > 4 or n < 1 << 16 * r)):
        return False
    return _memory(n, r, p) <= _MOST_BYTES and n * r * p <= _MOST_BLOCKS


def _memory(n: int, r: int, p: int) -> int:
    return 128 * r * (n + p + 2)


def _scrypt(password: str, salt: bytes, n: int = _N, r: int = _R, p: int = _P) -> bytes:
    memory = 2 * _memory(n, r, p)
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=32)


def _text(value: bytes) -> str:
    return b64encode(value).decode()
