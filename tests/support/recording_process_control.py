"""A pool without processes: a process control that records its calls, and the events to feed it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ipc.messages import (
    PROTOCOL,
    Drained,
    FromWorker,
    Heartbeat,
    Hello,
    KeeperBeat,
    Loaded,
    Ready,
    Spawned,
    Task,
    ToWorker,
    WorkerCounters,
)
from supervisor.config import SupervisorConfig
from supervisor.observer import PoolEvent
from supervisor.pool.pool import Pool
from supervisor.pool.state.inbox_events import (
    BeatReceived,
    Event,
    NurseryExited,
    NurseryMessage,
    Tick,
    WorkerDumped,
    WorkerExited,
    WorkerMessage,
)
from supervisor.pool.state.pool_state import PoolState, new_pool_state
from supervisor.pool.state.process_control import ProcessUsage
from supervisor.pool.state.worker_registry import WorkerProcess
from supervisor.pool.watchdog import TICK_SECONDS
from supervisor.process_range import ProcessRange

KILLED = 9  # the wait status of a process that SIGKILL ended


@dataclass
class RecordingProcessControl:
    """The calls of a pool, in order."""

    nurseries: list[tuple[int, bool]] = field(default_factory=list)
    retired: list[int] = field(default_factory=list)
    killed_nurseries: list[int] = field(default_factory=list)
    spawned: list[WorkerProcess] = field(default_factory=list)
    sent: list[tuple[int, ToWorker]] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    orphans: list[int] = field(default_factory=list)
    dumped: list[int] = field(default_factory=list)
    dumped_nurseries: list[int] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    #: Raised instead of starting a nursery.
    no_room: OSError | None = None
    #: Seconds that every process has waited for a CPU.
    waited: float | None = None
    #: Seconds that every process has had a CPU.
    used: float | None = None
    #: Pids of processes that are stopped.
    stopped: set[int] = field(default_factory=set)
    #: What every process that lives uses, and what those of each slot have used.
    uses: ProcessUsage = field(default_factory=lambda: ProcessUsage(12.5, 3.25, 17))
    cpu_seconds: dict[int, float] = field(default_factory=dict)

    def start_nursery(self, generation: int, *, preload: bool) -> int:
        if self.no_room is not None:
            raise self.no_room
        self.nurseries.append((generation, preload))
        return 1000 + generation

    def retire_nursery(self, generation: int) -> None:
        self.retired.append(generation)

    def kill_nursery(self, generation: int) -> None:
        self.killed_nurseries.append(generation)

    def spawn(self, worker: WorkerProcess) -> None:
        self.spawned.append(worker)

    def send(self, worker: WorkerProcess, message: ToWorker) -> None:
        self.sent.append((worker.number, message))

    def kill(self, worker: WorkerProcess) -> None:
        self.killed.append(worker.number)

    def watch_orphan(self, worker: WorkerProcess) -> None:
        self.orphans.append(worker.number)

    def dump(self, worker: WorkerProcess) -> None:
        self.dumped.append(worker.number)

    def dump_nursery(self, generation: int) -> None:
        self.dumped_nurseries.append(generation)

    def release(self, worker: WorkerProcess) -> None:
        self.released.append(worker.number)

    def usage(self, worker: WorkerProcess) -> ProcessUsage:
        return self.uses if worker.alive else ProcessUsage()

    def cpu_seconds_by_slot(self) -> dict[int, float]:
        return self.cpu_seconds

    def is_stopped(self, pid: int) -> bool:
        return pid in self.stopped

    def cpu_used_seconds(self, pid: int) -> float | None:
        return self.used

    def cpu_wait_seconds(self, pid: int) -> float | None:
        return self.waited

    def sent_to(self, number: int, kind: type | None = None) -> list[Any]:
        """The messages to one worker, of one kind or of all."""
        return [m for n, m in self.sent if n == number and (kind is None or isinstance(m, kind))]


class Rig:
    """A pool, its process control, its events, and a clock that only moves when a test moves it."""

    def __init__(self, processes: int | ProcessRange = 2, **options: Any) -> None:
        config = SupervisorConfig(processes=processes, **options)
        self.process_control = RecordingProcessControl()
        self.seen: list[PoolEvent] = []
        self.now = 100.0
        self.pool_state: PoolState = new_pool_state(
            config, self.process_control, self.seen.append, "host", self.now
        )
        # The machine that runs the tests may have any number of CPUs.
        self.pool_state.starting_at_once = max(2, config.bounds.most)
        self.pool = Pool(self.pool_state)

    def feed(self, event: Event) -> None:
        self.pool.handle(event, self.now)

    def pass_seconds(self, seconds: float, meanwhile: Callable[[], None] | None = None) -> None:
        """Regular ticks for so long, each after what happens meanwhile."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(end, self.now + TICK_SECONDS)
            if meanwhile is not None:
                meanwhile()
            self.feed(Tick(regular=True))

    def boot(self) -> "Rig":
        """Up to a pool that is ready, with every worker asked for once."""
        self.load()
        for worker in list(self.process_control.spawned):
            self.fork(worker)
            self.ready(worker)
        return self

    def load(self) -> None:
        """The nursery that was started loads its code."""
        self.feed(Tick())
        generation, _ = self.process_control.nurseries[-1]
        self.feed(NurseryMessage(generation, Hello(PROTOCOL, 1000 + generation)))
        self.feed(NurseryMessage(generation, Loaded(generation, 0.1)))

    def fork(self, worker: WorkerProcess) -> None:
        pid = 5000 + worker.number
        self.feed(NurseryMessage(worker.generation, Spawned(worker.slot, pid)))
        self.say(worker, Hello(PROTOCOL, pid))

    def ready(self, worker: WorkerProcess) -> None:
        self.say(worker, Ready(f"{worker.name}.{worker.number}", worker.name, 1_000_000))

    def say(self, worker: WorkerProcess, message: FromWorker) -> None:
        self.feed(WorkerMessage(worker.number, message))

    def beat(self, worker: WorkerProcess, *keys: str, **counters: int) -> None:
        """A heartbeat of the loop, with these tasks in flight."""
        tasks = [Task(key, "f", 0.1) for key in keys]
        counted = WorkerCounters(**counters)
        self.say(worker, Heartbeat(1, 0.001, tasks, len(tasks), counted, 2_000_000))

    def all_beat(self) -> None:
        """A heartbeat of every loop."""
        for worker in self.pool_state.registry.consuming():
            self.beat(worker)

    def keeper(self, worker: WorkerProcess, blocking_key: str | None = None) -> None:
        self.feed(BeatReceived(worker.number, KeeperBeat(1, 0.0, blocking_key)))

    def dump(self, worker: WorkerProcess, text: str = "Current thread 0x1\n") -> None:
        """It writes its stack."""
        self.feed(WorkerDumped(worker.number, f"worker {worker.slot}", text))

    def exit(self, worker: WorkerProcess, status: int | None = KILLED) -> None:
        self.feed(WorkerExited(worker.number, status))

    def drain_and_exit(self, worker: WorkerProcess) -> None:
        self.say(worker, Drained())
        self.exit(worker, 0)

    def nursery_exit(self, generation: int, status: int | None = 0) -> None:
        self.feed(NurseryExited(generation, status))

    @property
    def first(self) -> WorkerProcess:
        return self.worker(1)

    @property
    def second(self) -> WorkerProcess:
        return self.worker(2)

    def worker(self, slot: int) -> WorkerProcess:
        """The current worker of a slot."""
        found = self.pool_state.registry.slots()[slot - 1].current
        assert found is not None
        return found

    def saw(self, kind: type) -> list[Any]:
        return [event for event in self.seen if isinstance(event, kind)]
