"""Tasks that start processes, in every way that Python has."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

SLEEP = ["/bin/sleep", "100"]
#: Says that it is deaf now, and sleeps.
STUBBORN = ["/bin/sh", "-c", "trap '' TERM INT HUP; echo deaf; sleep 100 & wait; sleep 100"]


async def whoami():
    return os.getpid()


def square(number):
    return number * number


def put(queue, number):
    print("a line of a child")
    queue.put(square(number))


def sleep_on():
    time.sleep(100)


def kill_yourself(_):
    os.kill(os.getpid(), signal.SIGKILL)


async def signals_of_a_subprocess():
    command = ["/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {name: int(mask, 16) for name, mask in map(str.split, done.stdout.splitlines())}


async def run_with_everything():
    done = subprocess.run(
        ["/bin/cat"], input="to and fro", check=True, capture_output=True, text=True, timeout=20
    )
    with_hook = subprocess.run(["/bin/true"], preexec_fn=os.getpid, check=False)
    return [done.stdout, with_hook.returncode]


async def terminate_a_popen():
    process = subprocess.Popen(SLEEP)
    process.terminate()
    return await asyncio.to_thread(process.wait, 20)


async def terminate_by_asyncio():
    process = await asyncio.create_subprocess_exec(*SLEEP)
    process.terminate()
    return await process.wait()


async def talk_to_a_shell():
    process = await asyncio.create_subprocess_shell(
        "read line; echo $line; exit 3",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate(b"hello\n")
    return [said.decode(), process.returncode]


async def kill_as_the_kernel_does():
    process = await asyncio.create_subprocess_exec(*SLEEP)
    os.kill(process.pid, signal.SIGKILL)
    return await process.wait()


async def a_process(method):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=put, args=(queue, 7))
    child.start()
    number = await asyncio.to_thread(queue.get, True, 30)
    await asyncio.to_thread(child.join, 30)
    return [number, child.exitcode]


async def terminate_processes(method, count):
    """Each as soon as it is started: it may not have run its first line."""
    context = multiprocessing.get_context(method)
    statuses = []
    for _ in range(count):
        child = context.Process(target=sleep_on)
        child.start()
        child.terminate()
        await asyncio.to_thread(child.join, 5)
        statuses.append(child.exitcode)
        child.kill()
    return statuses


async def a_pool(method):
    def mapped():
        with multiprocessing.get_context(method).Pool(2) as pool:
            return pool.map(square, [1, 2, 3])

    return await asyncio.to_thread(mapped)


async def an_executor(method):
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as executor:
        return await asyncio.gather(
            *(loop.run_in_executor(executor, square, number) for number in range(4))
        )


async def a_killed_executor(method):
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as executor:
        try:
            await loop.run_in_executor(executor, kill_yourself, None)
        except BrokenProcessPool:
            return "broken"


async def fork_by_hand():
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    return os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1])


async def fork_and_come_back():
    os.fork()
    return os.getpid()


async def fork_and_terminate(count):
    """The signal may come before the child has run anything at all."""
    statuses = set()
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            time.sleep(5)
            os._exit(0)
        os.kill(pid, signal.SIGTERM)
        statuses.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return statuses


async def leave_behind(kind):
    """Start what is not waited for; its worker's pid."""
    match kind:
        case "sleep":
            subprocess.Popen(SLEEP)
        case "detached":
            subprocess.Popen(SLEEP, start_new_session=True)
        case "asyncio":
            await asyncio.create_subprocess_exec(*SLEEP)
        case "stubborn":
            process = subprocess.Popen(STUBBORN, stdout=subprocess.PIPE)
            process.stdout.readline()
        case "pool":
            KEPT.append(multiprocessing.get_context("spawn").Pool(2))
        case _:
            child = multiprocessing.get_context(kind).Process(target=sleep_on)
            child.start()
            KEPT.append(child)
    return os.getpid()


async def block_beside_a_subprocess():
    process = subprocess.Popen(STUBBORN, stdout=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(100)


async def linger(seconds):
    await asyncio.sleep(seconds)
    return os.getpid()


async def modules_of_a_spawned_process():
    """How many of the runtime's modules a child imports that has nothing to do with it."""

    def ours():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(loaded_of_the_runtime)

    return await asyncio.to_thread(ours)


def loaded_of_the_runtime():
    return sorted(m for m in sys.modules if m.partition(".")[0] in {"supervisor", "ipc", "docket"})


#: What nobody waits for is not to be collected either.
KEPT = []

tasks = [
    whoami,
    signals_of_a_subprocess,
    run_with_everything,
    terminate_a_popen,
    terminate_by_asyncio,
    talk_to_a_shell,
    kill_as_the_kernel_does,
    a_process,
    terminate_processes,
    a_pool,
    an_executor,
    a_killed_executor,
    fork_by_hand,
    fork_and_come_back,
    fork_and_terminate,
    leave_behind,
    block_beside_a_subprocess,
    linger,
    modules_of_a_spawned_process,
]
