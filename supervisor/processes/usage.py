"""CPU and descriptors of the workers, read by pid when somebody asks, and now and then unasked.

A read costs this process 0.1 ms a worker (on Linux three small files), so two reads of one worker
are at least a second apart, however many ask.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress

from msgspec import Struct

from supervisor.pool.state.process_control import ProcessUsage
from supervisor.system.process_table import ObservedProcess

#: Whoever asks sooner than this after a read is told what that one found.
FRESH_SECONDS = 1.0
#: How often the CPU is read unasked: a percentage is then of the last seconds, even for the first
#: who asks in hours, and of a worker that dies no more than this goes uncounted.
LOOK_SECONDS = 10.0


class _Measured(Struct):
    """A worker that is looked at. `process` is None once it is known to be gone."""

    slot: int
    process: ObservedProcess | None
    read_at: float
    cpu_seconds: float
    cpu_percent: float | None = None
    descriptors: int | None = None
    descriptors_at: float = -FRESH_SECONDS


class UsageMeter:
    """The CPU and descriptors of workers, by their numbers in the registry.

    Arguments:
        now: seconds of the monotonic clock.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._measured: dict[int, _Measured] = {}
        #: CPU of the dead workers, by slot.
        self._used_before: defaultdict[int, float] = defaultdict(float)
        self._looked_at = now()

    def watch(self, number: int, slot: int, pid: int) -> None:
        """Measure the worker that has this pid now; its number is nobody else's later."""
        with suppress(OSError):
            process = ObservedProcess(pid)
            used = process.cpu_seconds()
            self._measured[number] = _Measured(slot, process, self._now(), used)

    def forget(self, number: int) -> None:
        """Stop measuring a dead worker; keep its CPU for its slot."""
        measured = self._measured.pop(number, None)
        if measured is not None:
            self._used_before[measured.slot] += measured.cpu_seconds

    def of(self, number: int) -> ProcessUsage:
        """Read its usage now; without values if that cannot be known."""
        measured = self._measured.get(number)
        if measured is None:
            return ProcessUsage()
        self._read_cpu(measured)
        self._count_descriptors(measured)
        if measured.process is None:
            return ProcessUsage(cpu_seconds=measured.cpu_seconds)
        return ProcessUsage(measured.cpu_percent, measured.cpu_seconds, measured.descriptors)

    def cpu_seconds_by_slot(self) -> Mapping[int, float]:
        """Sum up the CPU of all workers of each slot; never falls."""
        sums = self._used_before.copy()
        for measured in self._measured.values():
            self._read_cpu(measured)
            sums[measured.slot] += measured.cpu_seconds
        return sums

    def tick(self) -> None:
        """Look at the CPU, if the last look is long enough ago."""
        if self._now() - self._looked_at >= LOOK_SECONDS:
            self._looked_at = self._now()
            for measured in self._measured.values():
                self._read_cpu(measured)

    def _read_cpu(self, measured: _Measured) -> None:
        now = self._now()
        passed = now - measured.read_at
        if measured.process is None or passed < FRESH_SECONDS:
            return
        try:
            used = measured.process.cpu_seconds()
        except OSError:
            measured.process = None
            return
        measured.cpu_percent = max(0.0, used - measured.cpu_seconds) / passed * 100
        measured.cpu_seconds, measured.read_at = used, now

    def _count_descriptors(self, measured: _Measured) -> None:
        if measured.process is None or self._now() - measured.descriptors_at < FRESH_SECONDS:
            return
        measured.descriptors_at = self._now()
        try:
            measured.descriptors = measured.process.descriptors()
        except OSError:
            # Of another user by now, or it is just ending; its CPU may still be told.
            measured.descriptors = None
