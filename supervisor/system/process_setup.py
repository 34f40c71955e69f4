"""The process as its system sees it: file limit, name, working directory."""

import os
import resource
from pathlib import Path

from supervisor.system.prctl import PR_SET_NAME, prctl

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
    """The working directory by $PWD, the user's own name for it, whose symlinks may move later."""
    real = Path.cwd()
    logical = Path(os.environ.get("PWD", ""))
    if logical.is_absolute() and logical.exists() and logical.samefile(real):
        return str(logical)
    return str(real)
