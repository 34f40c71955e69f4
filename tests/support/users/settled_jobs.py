"""A module that does at import all that may be done there."""

import asyncio
import atexit
import logging
import os
import random
import secrets
import signal
import sqlite3
import ssl
import sys
import tempfile
import uuid
from pathlib import Path

import uvloop

HERE = Path(__file__).parent

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
LOCK, SEMAPHORE, QUEUE = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Queue()


async def set_up():
    await asyncio.sleep(0)
    return "set up"


STATE = asyncio.run(set_up())

logging.getLogger().addHandler(logging.FileHandler(HERE / "user.log"))
log = logging.getLogger("user.settled")
log.setLevel("DEBUG")

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
    signal.signal(number, lambda number, frame: os._exit(99))

os.environ["SETTLED"] = "yes"
sys.path.append(str(HERE / "more"))
random.seed(1)
secrets.token_hex()
uuid.uuid4()
TLS = ssl.create_default_context()
JOURNAL = open(HERE / "journal", "a", buffering=1)
DATABASE = sqlite3.connect(HERE / "database", timeout=20, isolation_level=None)
DATABASE.execute("PRAGMA journal_mode=WAL")
DATABASE.execute("CREATE TABLE IF NOT EXISTS seen (pid INTEGER)")
FOLDER = tempfile.TemporaryDirectory(dir=HERE, prefix="import-")
KEPT = []


@atexit.register
def at_exit():
    with open(HERE / "exits", "a") as exits:
        exits.write(f"{os.getpid()}\n")


if __name__ == "__main__":
    sys.exit("not as a program")


async def facts():
    """What is this worker's own, what all share, and that it all works."""
    async with LOCK, SEMAPHORE:
        QUEUE.put_nowait(STATE)
        state = await QUEUE.get()
    import only_here

    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    JOURNAL.write(f"{os.getpid()}\n")
    DATABASE.execute("INSERT INTO seen VALUES (?)", (os.getpid(),))
    log.debug("from the worker")
    return {
        "pid": os.getpid(),
        "own": [random.random(), uuid.uuid4().hex, secrets.token_hex(), TLS.session_stats()],
        "same": [state, only_here.VALUE, os.environ["SETTLED"], Path(FOLDER.name).exists()],
        "loop": type(asyncio.get_running_loop()).__module__,
        "subprocess": await (await asyncio.create_subprocess_exec("/bin/true")).wait(),
    }


async def clean_up_at_exit():
    """What a task registers is the worker's own."""
    KEPT.append(tempfile.TemporaryDirectory(dir=HERE, prefix="task-"))
    atexit.register((HERE / f"left-{os.getpid()}").touch)
    return os.getpid()


tasks = (facts, clean_up_at_exit)
