"""A service manager's end of the notify protocol: a real datagram socket, and what came in."""

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

#: Long enough for a loaded machine; whatever takes this long is a failure, not a pace.
PATIENCE_SECONDS = 30.0
#: Sent to itself to end the reader: closing a socket does not wake who waits on it.
_LAST = b"\0"


@dataclass(frozen=True)
class Notice:
    """One datagram, and when it came in on the monotonic clock."""

    text: str
    at: float

    def __contains__(self, line: object) -> bool:
        return line in self.text.split("\n")

    def value(self, name: str) -> str | None:
        """Of its line `name=value`."""
        found = re.search(rf"^{name}=(.*)$", self.text, re.MULTILINE)
        return None if found is None else found[1]


class ServiceManager:
    """Listens at a path, or in the abstract namespace where `path` is None."""

    def __init__(self, path: Path | None) -> None:
        self.named = f"@docket-test-{uuid4().hex}" if path is None else str(path)
        self._bound = self.named.replace("@", "\0", 1) if path is None else self.named
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self._bound)
        self.notices: list[Notice] = []
        self._came = threading.Condition()
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
            with self._came:
                self.notices.append(Notice(data.decode(), time.monotonic()))
                self._came.notify_all()

    def environment(self, watchdog_seconds: float | None = None) -> dict[str, str]:
        """What a service finds in its environment."""
        given = {"NOTIFY_SOCKET": self.named}
        if watchdog_seconds is not None:
            given["WATCHDOG_USEC"] = str(int(watchdog_seconds * 1_000_000))
        return given

    @property
    def count(self) -> int:
        """How many came in so far: where to look from, later."""
        with self._came:
            return len(self.notices)

    def since(self, count: int) -> list[Notice]:
        """Those after the first `count`."""
        with self._came:
            return self.notices[count:]

    def wait_for(self, what: str | Callable[[Notice], bool], after: int = 0) -> Notice:
        """The first notice from number `after` on that has this line, or is such a one."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        wanted = what if callable(what) else lambda notice: what in notice
        with self._came:
            while True:
                for notice in self.notices[after:]:
                    if wanted(notice):
                        return notice
                left = deadline - time.monotonic()
                if left <= 0 or not self._came.wait(left):
                    told = "\n".join(repr(each.text) for each in self.notices)
                    raise AssertionError(f"never told {what!r}:\n{told}")

    def wait_for_status(self, pattern: str, after: int = 0) -> str:
        """The first STATUS= in which the pattern is found."""
        notice = self.wait_for(
            lambda each: re.search(pattern, each.value("STATUS") or "") is not None, after
        )
        return notice.value("STATUS") or ""


@contextlib.contextmanager
def bound(path: Path) -> Iterator[socket.socket]:
    """A socket that nobody reads from until the test does."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with contextlib.closing(listener):
        listener.bind(os.fspath(path))
        listener.setblocking(False)
        yield listener
