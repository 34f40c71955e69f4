"""The process as its system sees it: file limit, name, working directory."""

import os
import resource
import socket
from pathlib import Path

from supervisor.errors import ConfigurationError
from supervisor.system.prctl import PR_SET_NAME, prctl
from supervisor.text.utf8 import is_utf8

#: The name in ps and top, of which the kernel keeps 15 bytes.
COMMAND_NAME = b"docket-supervis"


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one: each worker costs some descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        # macOS reports an infinite hard limit and refuses it; the soft one must do.
        return


def take_name() -> None:
    """Give this process a name that tells it from other Pythons in ps and top."""
    prctl(PR_SET_NAME, COMMAND_NAME)


def logical_directory() -> str:
    """The working directory by $PWD, the user's own name for it, whose symlinks may move later.

    Raises:
        ConfigurationError: it is gone, or its name is not UTF-8 and can be part of no frame.
    """
    try:
        real = Path.cwd()
    except OSError as error:
        reason = f"the working directory cannot be used ({error.strerror}): start in another one"
        raise ConfigurationError(reason) from error
    logical = Path(os.environ.get("PWD", ""))
    # Not by pathlib, which raises where it may not look.
    is_ours = logical.is_absolute() and os.path.exists(logical) and os.path.samefile(logical, real)  # noqa: PTH110, PTH121
    found = str(logical if is_ours else real)
    if not is_utf8(found):
        raise ConfigurationError(f"the working directory {found!r} is not in UTF-8")
    return found


def host_name() -> str:
    """The name of this host, for those of its workers."""
    return socket.gethostname().encode("utf-8", "backslashreplace").decode()
