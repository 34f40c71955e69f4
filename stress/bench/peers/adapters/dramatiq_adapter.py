"""dramatiq, with its Redis broker and results."""

import time

import dramatiq
import harness
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

broker = RedisBroker(url=harness.URL, namespace=harness.NAME)
broker.add_middleware(Results(backend=RedisBackend(url=harness.URL)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def no_op() -> None:
    """Count."""
    harness.traces.count()


@dramatiq.actor(store_results=True)
def stamp(moment: float) -> None:
    """Note the delay."""
    harness.traces.stamp(moment)


@dramatiq.actor(store_results=True)
def linger(number: int, seconds: float) -> None:
    """Take a while."""
    harness.traces.started(number)
    time.sleep(seconds)
    harness.traces.ended(number)


_BY_NAME = {"no_op": no_op, "stamp": stamp, "linger": linger}

#: As they are shown beside the figures.
SETTINGS = {
    "broker": "RedisBroker with Results and RedisBackend",
    "add": "actor.send()",
    "bulk": "group(messages).run()",
    "worker": "dramatiq --threads ...",
    "killed": "heartbeat_timeout=60000 (default)",
}


class DramatiqAdapter(harness.Adapter):
    """dramatiq."""

    def add(self, task: str, *arguments: object, at: float | None = None) -> None:
        """Add one task."""
        if at is None:
            _BY_NAME[task].send(*arguments)
        else:
            delay = max(round((at - time.time()) * 1000), 0)
            _BY_NAME[task].send_with_options(args=arguments, delay=delay)

    def add_bulk(self, task: str, calls: list[tuple[object, ...]]) -> None:
        """Add many tasks."""
        dramatiq.group([_BY_NAME[task].message(*each) for each in calls]).run()

    def work(self) -> None:
        """Run a pool of workers."""
        counts = ["--processes", str(harness.PROCESSES), "--threads", str(harness.CONCURRENCY)]
        harness.become("dramatiq", "dramatiq_adapter", *counts)


if __name__ == "__main__":
    harness.main(DramatiqAdapter(), SETTINGS)
