"""The errors of a channel.

    IpcError
    ├── FrameError            the bytes do not follow the protocol: the peer's fault
    │   ├── FrameTooLarge     a length prefix over the limit (read), or a message over it (written)
    │   └── MalformedFrame    no message of the expected union
    ├── DescriptorError       the file descriptors of a message did not arrive with it
    └── ChannelOverflow       the peer has stopped reading and its backlog is too large

A channel passes these to its `on_closed`; reading never raises anything else.
"""

from __future__ import annotations

from collections.abc import Sequence


class IpcError(Exception):
    """The base class of this package's errors."""


class FrameError(IpcError):
    """The stream is not, or no longer, a stream of valid frames.

    `decoded` holds the complete messages that preceded the bad frame in the same read: they are
    valid and should be handled.
    """

    def __init__(self, text: str, decoded: Sequence[object] = ()) -> None:
        super().__init__(text)
        self.decoded: tuple[object, ...] = tuple(decoded)


class FrameTooLarge(FrameError):
    """A frame over the limit; refused on its length prefix, before any of it is buffered."""


class MalformedFrame(FrameError):
    """A frame whose payload is not one of the messages that this side receives."""


class DescriptorError(IpcError):
    """File descriptors were cut off, missing, or sent without a message that takes them."""


class ChannelOverflow(IpcError):
    """The peer has left more unread than a live one ever would."""
