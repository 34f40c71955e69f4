"""Linux's prctl, as far as it is used here."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

#: Options of prctl(2).
PR_SET_PDEATHSIG: Final = 1
PR_SET_NAME: Final = 15
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
