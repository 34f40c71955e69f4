"""Linux's prctl: settings of one process that Python has no call for."""

import ctypes
import sys
from typing import Final

#: The signal that a process gets when its parent dies.
PARENT_DEATH_SIGNAL: Final = 1
#: The name of a process, of at most 15 bytes, in ps and top.
NAME: Final = 15
#: Orphaned descendants become children of this process rather than of PID 1.
CHILD_SUBREAPER: Final = 36


def prctl(option: int, argument: int | bytes) -> bool:
    """Call prctl with one argument; False on other systems, or if it refuses."""
    if sys.platform != "linux":
        return False
    value = ctypes.c_char_p(argument) if isinstance(argument, bytes) else ctypes.c_ulong(argument)
    return ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0
