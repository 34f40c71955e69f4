"""A nursery whose workers are puppets: `python -P -m tests.support.nursery_child FD`.

A puppet says what it finds in its process and does what it is told over its channel; the verbs
travel as the consumer of an Adopt.
"""

import asyncio
import atexit
import gc
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from ipc.blocking import BlockingChannel
from ipc.messages import PROTOCOL, Adopt, Drain, Hello, ToWorker, Waiting
from supervisor.child.fork_setup import ChildSpec
from supervisor.child.signal_shield import SHIELDED
from supervisor.nursery import nursery

SLEEP = [sys.executable, "-c", "import time; time.sleep(100)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()",
]


def descriptors() -> dict[str, str]:
    """What each open descriptor is; that of the listing itself aside."""
    found: dict[str, str] = {}
    for entry in sorted(Path("/proc/self/fd").iterdir()):
        if entry.is_symlink():
            found[entry.name] = str(entry.readlink())
    return found


def loop_is_set() -> bool:
    try:
        return asyncio.get_event_loop_policy().get_event_loop() is not None
    except (RuntimeError, DeprecationWarning):
        return False


def facts(spec: ChildSpec) -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "group": os.getpgrp(),
        "session": os.getsid(0),
        "name": spec.name,
        "slot": spec.slot,
        "collecting": gc.isenabled(),
        "frozen": gc.get_freeze_count(),
        "handlers": {s.name: handler_of(s) for s in (*SHIELDED, signal.SIGCHLD)},
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "wakeup": signal.set_wakeup_fd(-1),
        "descriptors": descriptors(),
        "own": [spec.channel, spec.keeper, spec.dump],
        "oom_score": int(Path("/proc/self/oom_score_adj").read_text()),
        "threads": [thread.name for thread in threading.enumerate()],
        "loop": loop_is_set(),
        "cwd": str(Path.cwd()),
        "path": sys.path[0],
        "random": random.random(),
        "twin": sys.modules["uuid_utils"].uuid4().hex if "uuid_utils" in sys.modules else None,
    }


def handler_of(number: signal.Signals) -> str:
    handler = signal.getsignal(number)
    return "python" if callable(handler) else str(handler)


def fork_of_a_task() -> str:
    """The handlers that a plain fork of the worker has."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, " ".join(sorted({handler_of(number) for number in SHIELDED})).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return os.read(read, 1000).decode()


def subprocess_handlers() -> str:
    """The signals that a subprocess of a task ignores or blocks."""
    shown = subprocess.run(
        ["/bin/grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"],
        check=True,
        capture_output=True,
        text=True,
    )
    return " ".join(shown.stdout.split())


def obey(verb: str, channel: BlockingChannel[ToWorker]) -> str:
    match verb.split(":"):
        case ["subprocess"]:
            return str(subprocess.Popen(SLEEP).pid)
        case ["stubborn"]:
            process = subprocess.Popen(STUBBORN, stdout=subprocess.PIPE)
            assert process.stdout is not None
            process.stdout.readline()
            return str(process.pid)
        case ["fork"]:
            return fork_of_a_task()
        case ["inherits"]:
            return subprocess_handlers()
        case ["own-exit-handler", path]:
            atexit.register(Path(path).write_text, "ran")
            return "registered"
        case ["thread"]:
            threading.Thread(target=time.sleep, args=(0.3,), name="of a task").start()
            return "started"
        case _:
            raise ValueError(verb)


def puppet(spec: ChildSpec) -> int:
    channel: BlockingChannel[ToWorker] = BlockingChannel(
        socket.socket(fileno=spec.channel), ToWorker
    )
    found = facts(spec)
    channel.send(Hello(PROTOCOL, os.getpid()))
    channel.send(Waiting(json.dumps(found)))
    while (arrivals := channel.receive()) is not None:
        for message, _ in arrivals:
            match message:
                case Adopt(consumer=verb):
                    channel.send(Waiting(obey(verb, channel)))
                case Drain(deadline_seconds=status):
                    return int(status or 0)
                case _:
                    raise ValueError(message)
    if os.environ.get("PUPPETS_OUTLIVE"):
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(nursery.main(sys.argv[1:], puppet))
