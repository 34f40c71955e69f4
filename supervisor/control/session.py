"""One client of the control socket: its frames in, its answers out, and its time limits.

A client is served only while it keeps to the protocol: it says Hello and asks within five seconds,
asks one thing at a time, and reads its answers. Otherwise it is disconnected, and no other client
is affected.
"""

import asyncio
from collections.abc import Sequence
from enum import Enum, StrEnum, auto
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

#: The time for a client to say Hello, to ask, and to read an answer.
PATIENCE_SECONDS = 5.0


class SessionFault(StrEnum):
    """The reason for which a client was disconnected."""

    UNTRUSTED = auto()
    TOO_MANY = auto()
    MALFORMED = auto()
    WRONG_PROTOCOL = auto()
    SLOW = auto()
    SILENT = auto()


class SessionHost(Protocol):
    """The server of a session, as far as the session needs it."""

    def refusal_of(self, client: Credentials) -> str | None:
        """Give the reason if this user is not served; None: it is."""
        ...

    def admit(self, session: "Session") -> bool:
        """Add it to the clients, unless there are too many."""
        ...

    def forget(self, session: "Session") -> None:
        """Remove it from the clients: its connection has ended."""
        ...

    def handle(self, session: "Session", request: Request) -> None:
        """Answer the request, once, now or later."""
        ...

    def report_fault(self, fault: SessionFault, description: str) -> None:
        """Log that a client was disconnected for a fault."""
        ...


class _State(Enum):
    AWAITING_HELLO = auto()
    AWAITING_REQUEST = auto()
    ANSWERING = auto()
    #: The last answer was sent, and the client waits for the end of the server.
    LINGERING = auto()
    CLOSED = auto()


class Session(asyncio.Protocol):
    """The supervisor's side of one connection. Used on the loop only.

    Arguments:
        host: the server.
        hello: the first message to a client that is served.
    """

    def __init__(self, host: SessionHost, hello: ControlHello) -> None:
        self._host = host
        self._hello = hello
        self._state = _State.AWAITING_HELLO
        self._was_answered = False
        self._decoder: Decoder[FromClient] = Decoder(FromClient, MAX_REQUEST)
        self._timer: asyncio.TimerHandle | None = None
        self._credentials = Credentials()

    def answer(self, answer: Answer, *, stay: bool = False) -> None:
        """Answer the request of the client, if it is still connected.

        Arguments:
            stay: the client asks nothing more, and stays connected until the server ends.
        """
        if self._state is not _State.ANSWERING:
            return
        self._state = _State.LINGERING if stay else _State.AWAITING_REQUEST
        self._was_answered = True
        if not stay:
            self._start_timer()
        try:
            frame = encode(answer, MAX_ANSWER)
        except FrameTooLarge as error:
            frame = encode(Refused(f"the answer is too large: {error}"), MAX_ANSWER)
        self._transport.write(frame)

    def close(self) -> None:
        """End the connection once all answers are sent. Twice is fine."""
        self._state = _State.CLOSED
        self._cancel_timer()
        self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        self._state = _State.CLOSED
        self._cancel_timer()
        self._transport.abort()

    # Events of the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check the user of the client before a byte is read."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._credentials = credentials_of(transport.get_extra_info("socket"))
        refusal = self._host.refusal_of(self._credentials)
        if refusal is not None:
            self._drop(SessionFault.UNTRUSTED, refusal)
            return
        self._send(self._hello)
        if self._host.admit(self):
            self._start_timer()
        else:
            self._send(Refused("too many clients are connected; try again"))
            self._drop(SessionFault.TOO_MANY, "there are too many")

    def data_received(self, data: bytes) -> None:
        """Handle the messages of the client."""
        try:
            self._handle_all(self._decoder.feed(data))
        except FrameError as error:
            self._handle_all(cast(Sequence[FromClient], error.decoded))
            self._drop(SessionFault.MALFORMED, str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection, whichever side ended it."""
        self._state = _State.CLOSED
        self._cancel_timer()
        self._host.forget(self)

    # Messages of the client.

    def _handle_all(self, messages: Sequence[FromClient]) -> None:
        for message in messages:
            if self._state is not _State.CLOSED:
                self._handle(message)

    def _handle(self, message: FromClient) -> None:
        match message:
            case ControlHello(protocol) if self._state is _State.AWAITING_HELLO:
                self._check_protocol(protocol)
            case ControlHello():
                self._drop(SessionFault.MALFORMED, "it said Hello twice")
            case _ if self._state is _State.AWAITING_HELLO:
                self._drop(SessionFault.MALFORMED, "it did not say Hello first")
            case _ if self._state is _State.AWAITING_REQUEST:
                self._state = _State.ANSWERING
                self._cancel_timer()
                self._host.handle(self, message)
            case _:
                self._drop(SessionFault.MALFORMED, "it asked again before it was answered")

    def _check_protocol(self, protocol: int) -> None:
        if protocol == PROTOCOL:
            self._state = _State.AWAITING_REQUEST
            return
        self._send(Refused(f"this supervisor speaks protocol {PROTOCOL}, not {protocol}"))
        self._drop(SessionFault.WRONG_PROTOCOL, f"it speaks protocol {protocol}, not {PROTOCOL}")

    def _send(self, message: ToClient) -> None:
        self._transport.write(encode(message, MAX_ANSWER))

    def _start_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(PATIENCE_SECONDS, self._time_out)

    def _time_out(self) -> None:
        if self._transport.get_write_buffer_size():
            self._drop(
                SessionFault.SLOW, f"it did not read its answer within {PATIENCE_SECONDS:g} s"
            )
        elif self._was_answered:
            self.abort()  # it was answered, and asks no more
        else:
            self._drop(SessionFault.SILENT, f"it asked nothing within {PATIENCE_SECONDS:g} s")

    def _drop(self, fault: SessionFault, reason: str) -> None:
        if self._state is not _State.CLOSED:
            self._host.report_fault(fault, f"{self._credentials} was dropped: {reason}")
            self.abort()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
