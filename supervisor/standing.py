"""How a program of ours stands in its system: descriptors, limits, name, directory."""

import os
import resource
from pathlib import Path

from supervisor.reaper import PR_SET_NAME, prctl

#: As the kernel shows it in ps and top; it keeps 15 bytes.
COMMAND_NAME = b"docket-supervis"


def open_standard_streams() -> None:
    """Put /dev/null where 0, 1 or 2 are closed, or the next socket would take their number.

    Inheritable, as standard streams are: the nursery would find them closed again.
    """
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:
        os.set_inheritable(fd, True)
        fd = os.dup(fd)
    os.close(fd)


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
    """Be told apart from other Pythons in ps and top."""
    prctl(PR_SET_NAME, COMMAND_NAME)


def logical_directory() -> str:
    """The working directory as the user sees it: by $PWD, whose symlinks may move later."""
    real = Path.cwd()
    said = Path(os.environ.get("PWD", ""))
    if said.is_absolute() and said.exists() and said.samefile(real):
        return str(said)
    return str(real)
