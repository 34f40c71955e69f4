"""The descriptors 0, 1 and 2, which must be open before anything else takes their numbers."""

import os


def open_standard_streams() -> None:
    """Open /dev/null in place of each that is closed, or the next pipe would become our stderr.

    Inheritable, as standard streams are, or the next pipe of the nursery would become its stderr.
    """
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:
        os.set_inheritable(fd, True)
        fd = os.dup(fd)
    os.close(fd)
