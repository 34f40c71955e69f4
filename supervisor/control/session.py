"""One client of the control socket: its frames in, its answers out, and how long it may take.

A client is served only while it behaves: it says Hello and asks within five seconds, asks one thing
at a time, and reads what it is answered. Otherwise it is dropped, and nobody else notices.
"""

import asyncio
from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol, cast

from ipc.control import (
    MAX_ANSWER,
    MAX_REQUEST,
    PROTOCOL,
    Answer,
    ControlHello,
    FromClient,
    Refused,
    Request,
    ToClient,
)
from ipc.errors import FrameError, FrameTooLarge
from ipc.framing import Decoder, encode
from supervisor.control.peer_credentials import Credentials, credentials_of

#: How long a client may take to say Hello, to ask, and to read an answer.
PATIENCE_SECONDS = 5.0


class SessionHost(Protocol):
    """What a client needs of the server it belongs to."""

    def objection_to(self, who: Credentials) -> str | None:
        """Why this user is not served, nor answered; None: it is."""
        ...

    def admit(self, peer: "Session") -> bool:
        """Count it among the clients, unless there are too many."""
        ...

    def gone(self, peer: "Session") -> None:
        """It is a client no more."""
        ...

    def asked(self, peer: "Session", request: Request) -> None:
        """It asked; answer it once, now or later."""
        ...

    def dropped(self, kind: str, why: str) -> None:
        """A connection was ended for a fault; `kind` says which without details."""
        ...


class _Turn(Enum):
    HELLO = auto()
    #: It may ask.
    THEIRS = auto()
    #: It was not answered yet.
    OURS = auto()
    #: It waits for our end.
    NOBODYS = auto()
    OVER = auto()


class Session(asyncio.Protocol):
    """The supervisor's side of one connection. All of it on the loop.

    Arguments:
        hello: said first, to a client that is welcome.
    """

    def __init__(self, host: SessionHost, hello: ControlHello) -> None:
        self._host = host
        self._hello = hello
        self._turn = _Turn.HELLO
        self._served = False
        self._decoder: Decoder[FromClient] = Decoder(FromClient, MAX_REQUEST)
        self._timer: asyncio.TimerHandle | None = None
        self._who = Credentials()

    def answer(self, answer: Answer, *, stay: bool = False) -> None:
        """Answer what it asked; nothing happens if it is gone.

        Arguments:
            stay: it will not ask again, and stays until the server ends.
        """
        if self._turn is not _Turn.OURS:
            return
        self._turn = _Turn.NOBODYS if stay else _Turn.THEIRS
        self._served = True
        if not stay:
            self._expect_soon()
        try:
            frame = encode(answer, MAX_ANSWER)
        except FrameTooLarge as error:
            frame = encode(Refused(f"the answer is too large: {error}"), MAX_ANSWER)
        self._transport.write(frame)

    def close(self) -> None:
        """End the connection, after what was written. Twice is fine."""
        self._turn = _Turn.OVER
        self._cancel_timer()
        self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        self._turn = _Turn.OVER
        self._cancel_timer()
        self._transport.abort()

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Look at who it is, before a byte is read."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._who = credentials_of(transport.get_extra_info("socket"))
        objection = self._host.objection_to(self._who)
        if objection is not None:
            self._drop("stranger", objection)
            return
        self._say(self._hello)
        if self._host.admit(self):
            self._expect_soon()
        else:
            self._say(Refused("too many clients are connected; try again"))
            self._drop("crowd", "there are too many")

    def data_received(self, data: bytes) -> None:
        """Take in what it said."""
        try:
            self._take(self._decoder.feed(data))
        except FrameError as error:
            self._take(cast(Sequence[FromClient], error.decoded))
            self._drop("malformed", str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, or we ended it."""
        self._turn = _Turn.OVER
        self._cancel_timer()
        self._host.gone(self)

    # What it said.

    def _take(self, messages: Sequence[FromClient]) -> None:
        for message in messages:
            if self._turn is not _Turn.OVER:
                self._heard(message)

    def _heard(self, message: FromClient) -> None:
        match message:
            case ControlHello(protocol) if self._turn is _Turn.HELLO:
                self._greeted(protocol)
            case ControlHello():
                self._drop("malformed", "it said Hello twice")
            case _ if self._turn is _Turn.HELLO:
                self._drop("malformed", "it did not say Hello first")
            case _ if self._turn is _Turn.THEIRS:
                self._turn = _Turn.OURS
                self._cancel_timer()
                self._host.asked(self, message)
            case _:
                self._drop("malformed", "it asked again before it was answered")

    def _greeted(self, protocol: int) -> None:
        if protocol == PROTOCOL:
            self._turn = _Turn.THEIRS
            return
        self._say(Refused(f"this supervisor speaks protocol {PROTOCOL}, not {protocol}"))
        self._drop("protocol", f"it speaks protocol {protocol}, not {PROTOCOL}")

    def _say(self, message: ToClient) -> None:
        self._transport.write(encode(message, MAX_ANSWER))

    def _expect_soon(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(PATIENCE_SECONDS, self._was_silent)

    def _was_silent(self) -> None:
        if self._transport.get_write_buffer_size():
            self._drop("slow", f"it did not read its answer within {PATIENCE_SECONDS:g} s")
        elif self._served:
            self.abort()  # it got what it wanted
        else:
            self._drop("silent", f"it asked nothing within {PATIENCE_SECONDS:g} s")

    def _drop(self, kind: str, why: str) -> None:
        if self._turn is not _Turn.OVER:
            self._host.dropped(kind, f"{self._who} was dropped: {why}")
            self.abort()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
