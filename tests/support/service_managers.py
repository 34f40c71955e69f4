"""A service manager's end of the notify protocol: a real datagram socket."""

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import uuid4

#: Nothing takes this long, even on a loaded machine.
PATIENCE_SECONDS = 30.0
#: Sent to itself to end the reader: closing a socket does not wake who waits on it.
_LAST = b"\0"


@dataclass(frozen=True)
class Notice:
    """One datagram, and its time of arrival on the monotonic clock."""

    text: str
    at: float

    def __contains__(self, line: object) -> bool:
        return line in self.text.split("\n")

    def value(self, name: str) -> str | None:
        """The value of its line `name=value`."""
        found = re.search(rf"^{name}=(.*)$", self.text, re.MULTILINE)
        return None if found is None else found[1]


class ServiceManager:
    """Listens at a path, or in the abstract namespace where `path` is None."""

    def __init__(self, path: Path | None) -> None:
        self.address = f"@docket-test-{uuid4().hex}" if path is None else str(path)
        self._bound = self.address.replace("@", "\0", 1) if path is None else self.address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self._bound)
        self.notices: list[Notice] = []
        self._arrived = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as waker:
            waker.sendto(_LAST, self._bound)
        self._reader.join(PATIENCE_SECONDS)
        self.socket.close()

    def _read(self) -> None:
        while (data := self.socket.recv(4096)) != _LAST:
            with self._arrived:
                self.notices.append(Notice(data.decode(), time.monotonic()))
                self._arrived.notify_all()

    def environment(self, watchdog_seconds: float | None = None) -> dict[str, str]:
        """The environment for a service."""
        given = {"NOTIFY_SOCKET": self.address}
        if watchdog_seconds is not None:
            given["WATCHDOG_USEC"] = str(int(watchdog_seconds * 1_000_000))
        return given

    @property
    def count(self) -> int:
        """The number of notices so far, for `since` and `wait_for`."""
        with self._arrived:
            return len(self.notices)

    def since(self, count: int) -> list[Notice]:
        """The notices after the first `count`."""
        with self._arrived:
            return self.notices[count:]

    def wait_for(self, wanted: str | Callable[[Notice], bool], after: int = 0) -> Notice:
        """The first notice after the first `after` that has this line, or fulfils the condition."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        matches = wanted if callable(wanted) else lambda notice: wanted in notice
        with self._arrived:
            while True:
                for notice in self.notices[after:]:
                    if matches(notice):
                        return notice
                left = deadline - time.monotonic()
                if left <= 0 or not self._arrived.wait(left):
                    notices = "\n".join(repr(each.text) for each in self.notices)
                    raise AssertionError(f"never sent {wanted!r}:\n{notices}")

    def wait_for_status(self, pattern: str, after: int = 0) -> str:
        """The first STATUS= that the pattern matches."""
        notice = self.wait_for(
            lambda each: re.search(pattern, each.value("STATUS") or "") is not None, after
        )
        return notice.value("STATUS") or ""


@contextlib.contextmanager
def bound(path: Path) -> Iterator[socket.socket]:
    """A socket that only the test reads from."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with contextlib.closing(listener):
        listener.bind(os.fspath(path))
        listener.setblocking(False)
        yield listener
