"""The setup of the program's process: its limits, its name, its directory."""

import os
import resource
from pathlib import Path

from supervisor.system import prctl
from supervisor.system.standard_streams import open_standard_streams

__all__ = ["logical_directory", "open_standard_streams", "raise_file_limit", "take_name"]

#: As the kernel shows it in ps and top; it keeps 15 bytes.
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
    """Set the name in ps and top, to distinguish it from other Pythons."""
    prctl.prctl(prctl.NAME, COMMAND_NAME)


def logical_directory() -> str:
    """The working directory as the user sees it: by $PWD, whose symlinks may move later."""
    real = Path.cwd()
    shown = Path(os.environ.get("PWD", ""))
    if shown.is_absolute() and shown.exists() and shown.samefile(real):
        return str(shown)
    return str(real)
