"""The floor of latency: the same way of a task, by bare loops on connections of redis-py.

One script adds and rings the bell, one wait for it ends, one script takes the task, as in the
library: a call more than a queue whose workers wait for the tasks themselves, which is the price of
a record that says who runs it. What the floor varies by from task to task, the machine does.
"""

import asyncio
import pickle
import random
import time
from uuid import uuid4

from redis.asyncio import Redis

from stress.bench.baseline import FILL, WORK, BareWorker, call, connected, prefix_and_keys
from stress.bench.listener import CONCURRENCY, PAUSE_SECONDS, Stamps


def _ready(name: str) -> str:
    """The list by which the listener tells the producer that it listens."""
    return f"{prefix_and_keys(name)[0]}:ready"


async def listen(url: str, name: str, clock: str, count: int) -> list[float]:
    """Part: run one bare worker until it saw `count` stamps; the delays in seconds."""
    stamps = Stamps(clock, count)
    _, keys = prefix_and_keys(name)
    async with Redis.from_url(url) as client:
        digest = await client.script_load(WORK)
        calls, bell = await connected(client), await connected(client)
        worker = BareWorker(calls, digest, name, CONCURRENCY, stamps.stamp)
        await call(calls, "LPUSH", _ready(name), "1")
        while not stamps.complete.is_set():
            await call(bell, "BLPOP", keys[2], 0)
            # Once to take what is there, once to hand it in, and once more for what came meanwhile.
            await worker.exchange()
            while await worker.exchange():
                pass
        for connection in (calls, bell):
            await connection.disconnect()
    return stamps.late


async def produce(url: str, name: str, count: int) -> None:
    """Part: add `count` tasks, each long after the one before has run."""
    prefix, keys = prefix_and_keys(name)
    async with Redis.from_url(url) as client:
        digest, calls = await client.script_load(FILL), await connected(client)
        await call(calls, "BLPOP", _ready(name), 20)
        for _ in range(count):
            await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
            stamp = pickle.dumps(((time.monotonic(),), {}))
            fill = (prefix, "stamp", stamp, str(uuid4()))
            await call(calls, "EVALSHA", digest, len(keys), *keys, *fill)
        await calls.disconnect()
