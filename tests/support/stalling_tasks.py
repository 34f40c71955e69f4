"""Tasks that silence the worker they run in, each in a way of its own."""

import asyncio
import ctypes
import os
import signal
import threading
import time
from pathlib import Path


async def nap(seconds: float) -> int:
    """Sleep as a good task does; the pid that finished it."""
    await asyncio.sleep(seconds)
    return os.getpid()


async def crash(seconds: float) -> None:
    """Kill the process after so long, each time."""
    await asyncio.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


async def hog(seconds: float) -> int:
    """Block the loop, while other threads may run."""
    time.sleep(seconds)  # noqa: ASYNC251 - that is the point
    return os.getpid()


async def hold_gil() -> None:
    """Wait for ever in C code that keeps the GIL, as a careless extension does."""
    silent, _ = os.pipe()
    ctypes.PyDLL(None).read(silent, ctypes.create_string_buffer(1), 1)


async def hold_gil_until_told(path: str) -> int:
    """Hold the GIL in C code until somebody writes a byte to this FIFO; the pid that finished."""
    fifo = os.open(path, os.O_RDWR)
    try:
        ctypes.PyDLL(None).read(fifo, ctypes.create_string_buffer(1), 1)
    finally:
        os.close(fifo)
    return os.getpid()


async def hold_in_a_child() -> None:
    """Hold the GIL in an asyncio task of this one's, where no frame of docket is on the stack."""
    await asyncio.gather(hold_gil())


async def crunch(cpu_seconds: float) -> int:
    """So much work in one step of the loop, however long that takes."""
    end = time.thread_time() + cpu_seconds
    while time.thread_time() < end:
        pass
    return os.getpid()


async def linger(path: str) -> None:
    """Leave a thread behind that keeps the process; it says when the process was to end."""

    def outstay() -> None:
        threading.main_thread().join()
        Path(path).write_text(str(os.getpid()))
        threading.Event().wait(60)

    threading.Thread(target=outstay).start()


tasks = [nap, crash, hog, hold_gil, hold_gil_until_told, hold_in_a_child, crunch, linger]
