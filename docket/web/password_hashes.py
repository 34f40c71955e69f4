"""Passwords as they are kept: scrypt with a salt, `scrypt$N$r$p$salt$hash` (base64)."""

import hashlib
import hmac
import os
from base64 import b64decode, b64encode

#: 16 MiB and some 50 ms of a core for each try.
_N, _R, _P = 1 << 14, 8, 1
#: The most that is spent on a hash that somebody wrote into a file.
_MOST_N = 1 << 20


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
    if not (1 < n <= _MOST_N and 1 <= r <= 32 and 1 <= p <= 16 and salt and len(expected) == 32):
        raise ValueError("its numbers are out of bounds")
    return n, r, p, salt, expected


def _scrypt(password: str, salt: bytes, n: int = _N, r: int = _R, p: int = _P) -> bytes:
    memory = 128 * n * r * p * 2
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=32)


def _text(value: bytes) -> str:
    return b64encode(value).decode()
