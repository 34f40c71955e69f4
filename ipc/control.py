"""The messages on the control socket of a supervisor, framed as all others (ipc.framing).

    client -> supervisor   FromClient   Hello first; then one request at a time, each after the
                                        answer to the one before
    supervisor -> client   ToClient     Hello first; then one answer for each request

The protocol evolves as that of ipc.messages: a new field gets a default, a field never changes its
type or meaning, and the name of a removed message is never reused. A change that breaks these rules
increments PROTOCOL, and each side tells the other which of the two must be replaced. The tag is the
name on the wire: it outlives a renamed class.
"""

from __future__ import annotations

from typing import Final

from ipc.messages import Message

#: Incremented when an older peer would misread a newer one.
PROTOCOL: Final = 1

#: Maximum payload of a request, in bytes.
MAX_REQUEST: Final = 4096

#: Maximum payload of an answer, in bytes: a report of the largest pool with every task it lists.
MAX_ANSWER: Final = 64 << 20


class ControlHello(Message, frozen=True, tag="Hello"):
    """The sender's process and protocol version."""

    protocol: int
    pid: int = 0
    #: From a supervisor: it runs inside another program, which goes on after the pool.
    guest: bool = False


# -- requests ----------------------------------------------------------------------------------


class StatusRequest(Message, frozen=True, tag="Status"):
    """Return the status as /status does; answered by Report."""


class ScaleRequest(Message, frozen=True, tag="Scale"):
    """Scale the pool to this number of processes, and leave it there."""

    processes: int


class ScaleBetweenRequest(Message, frozen=True, tag="ScaleBetween"):
    """Have the size of the pool follow its work, between so many processes and so many."""

    least: int
    most: int


class ReloadRequest(Message, frozen=True, tag="Reload"):
    """Import the code again and replace every worker. `wait`: answer once that has ended."""

    wait: bool = True


class DrainRequest(Message, frozen=True, tag="Drain"):
    """Finish and exit. `wait`: after the answer, stay connected until the pool has ended."""

    wait: bool = False


class RestartRequest(Message, frozen=True, tag="Restart"):
    """Replace the worker in this slot; answered once that has ended."""

    slot: int


class DumpRequest(Message, frozen=True, tag="Dump"):
    """Write the stacks and tasks of every worker to the supervisor's log."""


# -- answers -----------------------------------------------------------------------------------


class Report(Message, frozen=True):
    """The JSON of /status, as text to be passed on unchanged."""

    json: str


class Done(Message, frozen=True):
    """Success: done, or begun if the request does not wait; one line for the operator."""

    text: str


class Refused(Message, frozen=True):
    """Refusal, with the reason; one line for the operator."""

    text: str


Request = (
    StatusRequest
    | ScaleRequest
    | ScaleBetweenRequest
    | ReloadRequest
    | DrainRequest
    | RestartRequest
    | DumpRequest
)
Answer = Report | Done | Refused
FromClient = ControlHello | Request
ToClient = ControlHello | Answer
