"""The errors of the supervisor.

SupervisorError
├── ConfigurationError      an option, a key or an address that cannot be used; exit 2
│   ├── InvalidOption       an option has a value that is not accepted
│   ├── InUse               another process has what an option names; exit 3
│   │   ├── AddressInUse    it listens there
│   │   ├── ControlInUse    a live supervisor has that control socket
│   │   └── FolderInUse     its embedded server has that folder
│   ├── NoPlace             there is no folder in which the control socket may be made
│   └── NoSupervisor        `ctl` finds no supervisor, or more than one
├── OrderFailed             a command of `ctl` was refused, or not answered; exit 1
│   └── SupervisorGone      the connection ended before the answer
├── BootFailure             the pool cannot become ready; exit 3
└── InvalidTransition       a child was to enter a state that it cannot reach: a bug of ours
"""

from supervisor.exit_codes import ExitCode


class SupervisorError(Exception):
    """The root of the tree; the program ends with `exit_code` when it is not handled."""

    exit_code: ExitCode = ExitCode.BUG


class ConfigurationError(SupervisorError):
    """An option, a key or an address that cannot be used. One line, exit 2."""

    exit_code = ExitCode.USAGE


class InvalidOption(ConfigurationError):
    """An option with a value that is not accepted; the message names all three.

    Arguments:
        option: as the user wrote it: `--processes`, an environment variable, or a TOML key.
        given: the value, without secrets.
        accepted: the values that are.
    """

    def __init__(self, option: str, given: object, accepted: str) -> None:
        super().__init__(f"{option}: got {given!r}, expected {accepted}")
        self.option = option
        self.given = given
        self.accepted = accepted

    def named_as(self, option: str) -> "InvalidOption":
        """Return the same error under the name that the user gave the value by."""
        return InvalidOption(option, self.given, self.accepted)


class InUse(ConfigurationError):
    """A thing named by an option that another process has at the moment. One line, exit 3.

    A later start finds it free, so a service manager is to try again: the predecessor may still
    be draining. Not after wrong usage, which stays wrong.
    """

    exit_code = ExitCode.BOOT_FAILED


class AddressInUse(InUse):
    """An address of --http at which another process listens."""


class FolderInUse(InUse):
    """A folder of --url that the embedded server of another program has."""


class ControlInUse(InUse):
    """A path of --control that is the control socket of a live supervisor."""


class NoPlace(ConfigurationError):
    """No folder in which the control socket may be made."""


class NoSupervisor(ConfigurationError):
    """No live supervisor for `ctl` to talk to, or several."""


class OrderFailed(SupervisorError):
    """A command of `ctl` that was refused, or not answered. One line, exit 1."""

    exit_code = ExitCode.REFUSED


class SupervisorGone(OrderFailed):
    """A connection that closed before the supervisor answered."""


class BootFailure(SupervisorError):
    """A pool that cannot become ready; the message is the last line on stderr."""

    exit_code = ExitCode.BOOT_FAILED


class InvalidTransition(SupervisorError):
    """A transition to a state that the present one does not lead to: a bug of ours."""
