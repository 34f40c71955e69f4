"""A supervisor's end of a control socket, for what a well-behaved one never does."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scripted(path: Path, *replies: bytes, backlog: int = 8) -> Iterator[None]:
    """Each connection gets one of `replies`, in order, and is closed when its client has spoken.

    From the last one on nobody listens any more.
    """
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(backlog)

        def serve() -> None:
            for number, reply in enumerate(replies, start=1):
                connection, _ = listener.accept()
                if number == len(replies):
                    listener.close()
                with connection:
                    connection.sendall(reply)
                    connection.recv(1 << 16)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(20)
        assert not thread.is_alive(), "a reply was never fetched"
