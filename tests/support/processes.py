"""Forks and pipes for tests that need real ones."""

import contextlib
import fcntl
import os
import warnings
from dataclasses import dataclass


def fork() -> int:
    """os.fork, where the test runner's own threads are no reason to warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


@dataclass
class Pipe:
    """Both ends of a pipe; each is closed once, whoever does it."""

    read: int
    write: int

    def close_read(self) -> None:
        fd, self.read = self.read, -1
        _close(fd)

    def close_write(self) -> None:
        fd, self.write = self.write, -1
        _close(fd)

    def close(self) -> None:
        self.close_read()
        self.close_write()

    def make_small(self) -> None:
        """Let it hold one page."""
        fcntl.fcntl(self.write, fcntl.F_SETPIPE_SZ, 4096)

    def fill(self) -> None:
        """Fill it to its last byte."""
        self.make_small()
        os.write(self.write, b"x" * 4095 + b"\n")


def _close(fd: int) -> None:
    if fd >= 0:
        with contextlib.suppress(OSError):
            os.close(fd)
