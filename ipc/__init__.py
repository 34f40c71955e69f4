"""The channel between a supervisor, its nursery and its workers: messages, framing, descriptors."""

from ipc.blocking import BlockingChannel
from ipc.channel import Channel
from ipc.errors import (
    ChannelOverflow,
    DescriptorError,
    FrameError,
    FrameTooLarge,
    IpcError,
    MalformedFrame,
)
from ipc.framing import Decoder, encode

__all__ = [
    "BlockingChannel",
    "Channel",
    "ChannelOverflow",
    "Decoder",
    "DescriptorError",
    "FrameError",
    "FrameTooLarge",
    "IpcError",
    "MalformedFrame",
    "encode",
]
