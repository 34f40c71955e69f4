"""Linux's prctl: settings of one process that Python has no call for."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

#: The signal that a process gets when its parent dies.
PR_SET_PDEATHSIG: Final = 1
#: The name of a process, of at most 15 bytes, in ps and top.
PR_SET_NAME: Final = 15
#: Orphaned descendants become children of this process rather than of PID 1.
PR_SET_CHILD_SUBREAPER: Final = 36


def prctl(option: int, argument: int | bytes) -> bool:
    """Call prctl with one argument; False on other systems, or if it is refused."""
    if sys.platform != "linux":
        return False
    value = ctypes.c_char_p(argument) if isinstance(argument, bytes) else ctypes.c_ulong(argument)
    return ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0


def become_subreaper() -> bool:
    """Have orphaned descendants become our children, rather than those of PID 1."""
    return prctl(PR_SET_CHILD_SUBREAPER, 1)
