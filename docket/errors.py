"""The errors that docket raises.

    DocketError
    ├── ServerUnavailable          (also redis.exceptions.ConnectionError)
    ├── NotPermitted               (also RefusedCall) the server's user lacks a permission
    ├── ConnectionClosed           a docket was closed while it was still in use
    ├── WrongEventLoop             (also RuntimeError) a call from another loop than a docket's own
    ├── EmbeddedServerError        the private server of memory:// or embedded:// did not start
    │   ├── EmbeddedFolderInUse    its folder belongs to a server that still runs
    │   └── ServerProgramMissing   there is no program of it on this machine
    ├── DeserializationError       a payload that cannot be read back
    ├── PoisonTask                 a task whose processes died too often; reported as its outcome
    ├── ResultUnavailable          (also TimeoutError) no result to return, and there will be none
    ├── ExecutionCancelled         there is no result, because the execution was cancelled
    ├── PayloadTooLarge            (also ValueError) arguments or a result over the size limit
    ├── UnfitValue                 (also TypeError) an argument or result that msgpack cannot store
    ├── NoSuchExecution            (also LookupError) there is nothing under a key to act on
    ├── WrongState                 an execution cannot be acted on in the state that it is in
    ├── TaskError                  replaces a task's exception that cannot be raised elsewhere
    └── UnknownTask                (also KeyError) a task's name is not registered here

A message names the operation, the cause, and the consequence or the remedy. Code that catches
redis-py's ConnectionError or KeyError still works, by inheritance.
"""

from redis import exceptions as redis_exceptions

#: An error reply of the server to one call (redis-py's class): that call was wrong, not others.
RefusedCall = redis_exceptions.ResponseError


class DocketError(Exception):
    """The base class: `except DocketError` catches every error of this package."""


class ServerUnavailable(DocketError, redis_exceptions.ConnectionError):
    """Redis or Valkey could not be reached, or cannot serve at the moment."""


class NotPermitted(DocketError, redis_exceptions.NoPermissionError):
    """The user in the URL lacks a permission on the server; waiting does not help."""


class ConnectionClosed(DocketError):
    """The docket was closed while still in use; not the server's fault, so not retried."""


class WrongEventLoop(DocketError, RuntimeError):
    """A call came from another event loop than the one in which the docket was opened."""


class EmbeddedServerError(DocketError):
    """The private server could not be started; the message ends with the server's own output."""


class EmbeddedFolderInUse(EmbeddedServerError):
    """Another server owns the folder: two servers would corrupt one append-only file."""


class ServerProgramMissing(EmbeddedServerError):
    """There is no server program for this machine; the message shows how to install one."""


class DeserializationError(DocketError):
    """A payload (arguments, result, exception) could not be turned back into objects."""


class PoisonTask(DocketError):
    """A task failed for good because too many processes died while they ran it."""


class ResultUnavailable(DocketError, TimeoutError):
    """The execution ended without a result, or its record is gone: waiting is in vain."""


class NoSuchExecution(DocketError, LookupError):
    """There is no execution under the key that was to be acted on."""


class WrongState(DocketError):
    """The execution is in a state in which that cannot be done; nothing was changed."""


class PayloadTooLarge(DocketError, ValueError):
    """Arguments or a result are over the size limit; nothing was stored."""


class UnfitValue(DocketError, TypeError):
    """An argument or a result would not survive being stored as msgpack unchanged."""


class TaskError(DocketError):
    """A replacement for a task's exception that cannot be pickled, or is no Exception (SystemExit).

    Attributes:
        type_name: the type of the exception; empty if only its text is known.
        message: its text.
        traceback_text: the formatted traceback.
    """

    def __init__(self, type_name: str, message: str, traceback_text: str) -> None:
        super().__init__(type_name, message, traceback_text)
        self.type_name = type_name
        self.message = message
        self.traceback_text = traceback_text

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.type_name else self.message


class UnknownTask(DocketError, KeyError):
    """A task's name is not registered here."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Task {name!r} is not registered: pass its function instead of its name, or register "
            "it first. A program without its code can register a function of the same name and "
            "parameters"
        )
        self.name = name

    def __reduce__(self) -> tuple[type["UnknownTask"], tuple[str]]:
        return UnknownTask, (self.name,)


class ExecutionCancelled(DocketError):
    """The execution was cancelled, so there is no result."""
