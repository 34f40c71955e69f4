"""A peer for the tests of the comparison: a list, whose worker forgets what it had when it dies."""

import time

import harness
from redis import Redis

_CALLS = f"{harness.NAME}:calls"


class ForgetfulAdapter(harness.Adapter):
    """A worker that runs one task at a time, and keeps no record of it."""

    async def __aenter__(self) -> "ForgetfulAdapter":
        """Open a connection."""
        self._client = Redis.from_url(harness.URL)
        return self

    def add(self, task: str, *arguments: float, at: float | None = None) -> None:
        """Add a task; its time is left to the worker to wait for."""
        words = [task, *arguments, *([] if at is None else [at])]
        self._client.lpush(_CALLS, " ".join(map(str, words)))

    def add_bulk(self, task: str, calls: list[tuple[float, ...]]) -> None:
        """Add many with one command."""
        texts = [" ".join(map(str, (task, *arguments))) for arguments in calls]
        self._client.lpush(_CALLS, *texts)

    def work(self) -> None:
        """Take tasks until the end of the process."""
        client: Redis = Redis.from_url(harness.URL)
        while True:
            taken = client.brpop([_CALLS], timeout=1)
            if taken:
                _run(*taken[1].decode().split())


def _run(task: str, *arguments: str) -> None:
    if task == "no_op":
        harness.traces.count()
    elif task == "stamp":
        time.sleep(max(float(arguments[-1]) - time.time(), 0))
        harness.traces.stamp(float(arguments[0]))
    else:
        harness.traces.started(int(arguments[0]))
        time.sleep(float(arguments[1]))
        harness.traces.ended(int(arguments[0]))


if __name__ == "__main__":
    harness.main(ForgetfulAdapter(), {"worker": "one task at a time"})
