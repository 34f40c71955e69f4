"""Monitors of a run: the end of every accepted task, and counters that must not go backwards."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Set
from itertools import islice

import psutil

from docket import Docket, Execution
from stress.chaos.fleet import Fleet
from stress.chaos.record import End
from stress.history import Event, Tail
from stress.waiting import UNANSWERED, eventually, repeat

LOOK_SECONDS = 0.5
#: Keys requested at once.
BATCH = 200

ENDED = frozenset({"completed", "failed", "cancelled"})


class EndCollector:
    """The ends of all accepted tasks, as the docket reports them past all proxies."""

    def __init__(self, fleet: Fleet, docket: Docket) -> None:
        self._docket, self._fleet = docket, fleet
        self._rollbacks_seen = 0
        # Another look may have reopened what one look takes for ended.
        self._looking = asyncio.Lock()
        self._adds, self._runs = Tail(fleet.folder, "adds"), Tail(fleet.folder, "runs")
        self._open: dict[str, None] = {}
        self.accepted: dict[str, str] = {}
        self.ends: dict[str, End] = {}

    @property
    def left(self) -> list[str]:
        """The accepted keys that have not ended."""
        return list(self._open)

    async def monitor(self) -> None:
        """Look again and again until cancelled."""
        await repeat(self.look, LOOK_SECONDS, UNANSWERED)

    async def all_ended(self, seconds: float) -> None:
        """Look until every accepted key has ended.

        Raises:
            TimeoutError: they have not within `seconds`.
        """

        async def is_over() -> bool:
            await self.look()
            return not self._open

        await eventually(is_over, seconds, every=LOOK_SECONDS, despite=UNANSWERED)

    async def doubt(self, kinds: Set[str]) -> None:
        """Look again at the ends of some kinds of tasks, which may have been retried."""
        async with self._looking:
            self._open_again([key for key in self.ends if self.accepted[key] in kinds])

    async def look(self) -> None:
        """Ask for every open key once."""
        async with self._looking:
            self._reopen()
            await self._look()

    async def _look(self) -> None:
        for line in self._adds.read():
            if line.event is Event.ACCEPTED:
                self._accept(line.key, line.kind)
        for line in self._runs.read():
            self._fleet.census.add([line.pid])
            # A task that another one adds is accepted once it runs; the automatic one never ends.
            if line.kind != "tick":
                self._accept(line.key, line.kind)
        keys = iter(list(self._open))
        while batch := list(islice(keys, BATCH)):
            found = await asyncio.gather(*(self._docket.get_execution(key) for key in batch))
            for key, execution in zip(batch, found, strict=True):
                self._seen(key, execution)

    def _reopen(self) -> None:
        """Doubt the ends that a failover may have lost: they have to be seen again."""
        for rollback in self._fleet.rollbacks[self._rollbacks_seen :]:
            self._rollbacks_seen += 1
            self._open_again([key for key, end in self.ends.items() if end.at >= rollback.since])

    def _open_again(self, keys: Iterable[str]) -> None:
        for key in keys:
            del self.ends[key]
            self._open[key] = None

    def _accept(self, key: str, kind: str) -> None:
        if key not in self.accepted:
            self.accepted[key] = kind
            self._open[key] = None

    def _seen(self, key: str, execution: Execution | None) -> None:
        if execution is None:
            self._ended(key, "lost", "")
        elif execution.state.value in ENDED:
            error = str(execution.error or "")
            self._ended(key, execution.state.value, error, execution.generation)

    def _ended(self, key: str, state: str, error: str, generation: int = 1) -> None:
        self.ends[key] = End(key, state, error, time.monotonic(), generation)
        del self._open[key]


class StatusSampler:
    """Samples of /status of every host, whose counters only rise and whose descriptors do not."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._totals: dict[int, dict[str, int]] = {}
        self._descriptors: dict[int, int] = {}
        self.samples = 0
        self.most_descriptors_gained = 0
        self.violations: list[str] = []

    async def monitor(self) -> None:
        """Sample again and again until cancelled."""
        await repeat(self._sample_all, LOOK_SECONDS)

    async def _sample_all(self) -> None:
        await asyncio.gather(*(self._sample(number) for number in range(len(self._fleet.hosts))))

    async def _sample(self, number: int) -> None:
        host = self._fleet.hosts[number]
        status = await host.status()
        if status is None:
            return
        self.samples += 1
        host.family()
        pid, totals = status["supervisor"]["pid"], status["totals"]
        for name, before in self._totals.get(pid, {}).items():
            if totals[name] < before:
                self.violations.append(
                    f"{name} of host {number} went back from {before} to {totals[name]}"
                )
        self._totals[pid] = totals
        is_calm = status["supervisor"]["state"] == "running" and all(
            row["state"] == "ready" for row in status["workers"]
        )
        if is_calm:
            self._count_descriptors(pid, len(status["workers"]))

    def _count_descriptors(self, pid: int, workers: int) -> None:
        """Compare with the first count; five a worker are its channel, pidfd, pipes and others."""
        with contextlib.suppress(psutil.NoSuchProcess):
            beyond = psutil.Process(pid).num_fds() - 5 * workers
            first = self._descriptors.setdefault(pid, beyond)
            self.most_descriptors_gained = max(self.most_descriptors_gained, beyond - first)
