"""The worker's end of its keeper pipe: beats from the keeper's thread, whatever the loop does."""

from __future__ import annotations

import os

from ipc.framing import encode
from ipc.messages import MAX_BEAT_FRAME, MAX_BLOCKING_KEY, KeeperBeat
from supervisor.text import truncation


class KeeperPipe:
    """Write beats. Only one thread may use it.

    pipe: the write end; made non-blocking, not owned.
    """

    def __init__(self, pipe: int) -> None:
        os.set_blocking(pipe, False)
        self._pipe = pipe
        self._counter = 0

    def beat(self, lag_seconds: float, blocking_key: str | None) -> bool:
        """Write one beat; False if it was dropped, as when the pipe is full.

        A frame is far under PIPE_BUF, so it goes whole or not at all.
        """
        self._counter += 1
        if blocking_key is not None:
            blocking_key = truncation.head_bytes(blocking_key, MAX_BLOCKING_KEY)
        frame = encode(KeeperBeat(self._counter, lag_seconds, blocking_key), MAX_BEAT_FRAME)
        try:
            os.write(self._pipe, frame)
        except OSError:
            return False
        return True
