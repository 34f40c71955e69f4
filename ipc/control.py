"""Every message on the control socket of a supervisor, framed as all others (ipc.framing).

    client -> supervisor   FromClient   Hello first; then one request, and the next one only after
                                        the answer
    supervisor -> client   ToClient     Hello first; then one answer for each request

Evolution is that of ipc.messages: a new field gets a default, a field never changes its type or its
meaning, a message is never reused. What breaks that raises PROTOCOL, and each side tells the other
which of the two is to be replaced. A tag is what goes over the wire: it outlives a renamed class.
"""

from __future__ import annotations

from typing import Final

from ipc.messages import Message

#: Raised when an older peer would misread a newer one.
PROTOCOL: Final = 1

#: Bytes of a request's payload, at most.
MAX_REQUEST: Final = 4096

#: Bytes of an answer's payload, at most: a report of the largest pool with every task it lists.
MAX_ANSWER: Final = 64 << 20


class ControlHello(Message, frozen=True, tag="Hello"):
    """Who speaks, and which protocol."""

    protocol: int
    pid: int = 0
    #: Of a supervisor: whether its process is another program's, which goes on after the pool.
    guest: bool = False


# -- requests ----------------------------------------------------------------------------------


class StatusRequest(Message, frozen=True, tag="Status"):
    """What /status says; answered by Report."""


class ScaleRequest(Message, frozen=True, tag="Scale"):
    """Be a pool of so many processes."""

    processes: int


class ReloadRequest(Message, frozen=True, tag="Reload"):
    """Import the code anew and replace every worker. `wait`: answer when that has ended."""

    wait: bool = True


class DrainRequest(Message, frozen=True, tag="Drain"):
    """Finish and end. `wait`: after the answer the connection stays until the pool has ended."""

    wait: bool = False


class RestartRequest(Message, frozen=True, tag="Restart"):
    """Replace the worker of this slot; answered when that has ended."""

    slot: int


class DumpRequest(Message, frozen=True, tag="Dump"):
    """The stacks and tasks of every worker to the supervisor's log."""


# -- answers -----------------------------------------------------------------------------------


class Report(Message, frozen=True):
    """The JSON of /status, as text: to be passed on exactly."""

    json: str


class Done(Message, frozen=True):
    """It was done, or has begun where it is not waited for; one line for a person."""

    text: str


class Refused(Message, frozen=True):
    """It was not done, and why; one line for a person."""

    text: str


Request = StatusRequest | ScaleRequest | ReloadRequest | DrainRequest | RestartRequest | DumpRequest
Answer = Report | Done | Refused
FromClient = ControlHello | Request
ToClient = ControlHello | Answer
