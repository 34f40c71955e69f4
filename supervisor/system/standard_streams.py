"""The descriptors 0, 1 and 2: there, before anything else could take their numbers."""

import os


def open_standard_streams() -> None:
    """Put /dev/null where one is closed, or the next pipe would become our stderr.

    Inheritable, as standard streams are: else it would be the nursery's next pipe.
    """
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:
        os.set_inheritable(fd, True)
        fd = os.dup(fd)
    os.close(fd)
