"""Tasks that work in threads, and note when they do."""

import asyncio
import os
import time
from pathlib import Path

from docket import CurrentExecution, Execution

NOTES = Path("notes.txt")


def work(seconds, redelivered):
    begun = NOTES.read_text().split() if NOTES.exists() else []
    at_work = [pid for pid in begun if f"-{pid}" not in begun and Path(f"/proc/{pid}").exists()]
    note(f"{os.getpid()}")
    time.sleep(0 if redelivered else seconds)
    note(f"-{os.getpid()}")
    return [redelivered, at_work]


def note(text):
    with NOTES.open("a") as notes:
        notes.write(f"{text}\n")


async def in_a_thread(seconds, execution: Execution = CurrentExecution()):
    return await asyncio.to_thread(work, seconds, execution.redelivered)


def plain(seconds, execution: Execution = CurrentExecution()):
    return work(seconds, execution.redelivered)


tasks = [in_a_thread, plain]
