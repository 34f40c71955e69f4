"""Tasks that are rough with their process."""

import asyncio
import logging
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger("user")


class Odd(BaseException):
    pass


async def nap(seconds):
    await asyncio.sleep(seconds)
    return os.getpid()


async def raise_it(name):
    match name:
        case "SystemExit":
            sys.exit(3)
        case "KeyboardInterrupt":
            raise KeyboardInterrupt
        case "GeneratorExit":
            raise GeneratorExit
        case "Odd":
            raise Odd("odd")
        case "MemoryError":
            bytearray(1 << 60)
        case "RecursionError":
            return recurse(0)
        case "DeepRecursionError":
            sys.setrecursionlimit(5000)
            try:
                return recurse(0)
            finally:
                sys.setrecursionlimit(1000)
        case "CancelledError":
            raise asyncio.CancelledError
        case "StopIteration":
            raise StopIteration
        case "in a thread":
            await asyncio.to_thread(sys.exit, 4)


def recurse(depth):
    return recurse(depth + 1) + 1


async def leave(status):
    os._exit(status)


async def die_of(number):
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    await asyncio.sleep(30)


async def close_standard_streams():
    os.closerange(0, 3)
    log.warning("it is still heard")
    return os.getpid()


async def close_everything():
    os.closerange(3, 1024)


async def close_the_very_last():
    os.closerange(0, 1024)


async def stop_the_loop():
    asyncio.get_running_loop().stop()
    await asyncio.sleep(30)


async def raise_in_a_callback():
    asyncio.get_running_loop().call_soon(sys.exit, 5)
    await asyncio.sleep(30)


async def raise_in_an_own_task():
    async def leave_it():
        sys.exit(5)

    await asyncio.create_task(leave_it())


async def exhaust_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    opened = []
    try:
        while True:
            opened.append(open("/dev/null"))
    finally:
        await asyncio.sleep(1.0)
        for each in opened:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def move_away():
    os.umask(0o077)
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)
    return os.getpid()


async def where():
    umask = os.umask(0)
    os.umask(umask)
    return [os.getcwd(), umask, os.getpid()]


async def lead_a_session():
    os.setsid()


async def replace_handlers():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: None)
    os.kill(os.getpid(), signal.SIGTERM)
    return os.getpid()


async def threads_of_all_kinds():
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(2) as executor:
        pooled = await loop.run_in_executor(executor, threading.get_ident)
    default = await loop.run_in_executor(None, threading.get_ident)
    plain = await asyncio.to_thread(threading.get_ident)
    daemon = threading.Thread(target=time.sleep, args=(100,), daemon=True)
    daemon.start()
    return threading.get_ident() not in {pooled, default, plain}


async def leave_a_thread(seconds):
    threading.Thread(target=time.sleep, args=(seconds,)).start()
    return os.getpid()


tasks = [
    nap,
    raise_it,
    leave,
    die_of,
    close_standard_streams,
    close_everything,
    close_the_very_last,
    stop_the_loop,
    raise_in_a_callback,
    raise_in_an_own_task,
    exhaust_descriptors,
    move_away,
    where,
    lead_a_session,
    replace_handlers,
    threads_of_all_kinds,
    leave_a_thread,
]
