"""The URLs of embedded servers. Unlike the servers themselves, they are known on every system."""

from typing import Final

SCHEMES: Final = ("memory", "embedded")
ACCEPTED: Final = "accepted: memory://[NAME], embedded:///PATH"


def is_embedded(url: str) -> bool:
    """Return whether `url` asks for an embedded server (memory://, embedded://)."""
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme.lower() in SCHEMES
