"""What can go wrong on a channel.

    IpcError
    ├── FrameError            the bytes are not our protocol: the peer's fault
    │   ├── FrameTooLarge     a length prefix over the limit (read), or a message over it (written)
    │   └── MalformedFrame    no message of the expected union
    ├── DescriptorError       the file descriptors of a message did not come with it
    └── ChannelOverflow       the peer has stopped reading and too much is waiting for it

A channel hands these to its `on_closed`; reading never raises anything else.
"""

from __future__ import annotations

from collections.abc import Sequence


class IpcError(Exception):
    """The root of what this package raises."""


class FrameError(IpcError):
    """The stream is not, or is no longer, a stream of our frames.

    `decoded` holds the messages that stood whole before the bad frame in the same read:
    they were sent by a peer that was still sane and are to be acted upon.
    """

    def __init__(self, text: str, decoded: Sequence[object] = ()) -> None:
        super().__init__(text)
        self.decoded: tuple[object, ...] = tuple(decoded)


class FrameTooLarge(FrameError):
    """A frame over the limit; refused on its length prefix, before any of it is kept."""


class MalformedFrame(FrameError):
    """A frame whose payload is not one of the messages that this side receives."""


class DescriptorError(IpcError):
    """File descriptors were cut off, missing, or sent without a message that takes them."""


class ChannelOverflow(IpcError):
    """More is waiting for the peer than a live one would ever leave unread."""
