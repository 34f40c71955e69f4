"""The nurseries of a run, one generation of code each (pure).

A generation is loading until its code is imported, then workers come from it. The newest loaded
one is current; an older one retires. A dead one is replaced by a new generation, because what is
on disk may have changed meanwhile. A candidate is the generation of a reload: until one worker of
it got ready it is forked from for that one only.
"""

from enum import StrEnum

from msgspec import Struct

from supervisor.backoff import Backoff


class Phase(StrEnum):
    """The phases of a nursery's life."""

    LOADING = "loading"
    LOADED = "loaded"
    #: It could not load, and is ending by itself.
    FAILED = "failed"
    #: Told to end.
    ENDING = "ending"
    DEAD = "dead"


class NurseryProcess(Struct, eq=False):
    """One nursery. Times are seconds of the monotonic clock."""

    generation: int
    pid: int
    preload: bool
    started_at: float
    phase: Phase = Phase.LOADING
    loaded_at: float | None = None
    #: Its import left behind what must not be forked: a bare one takes its place.
    unsafe: bool = False
    #: Why it could not load.
    failure: str | None = None
    #: It was killed by us; its exit follows.
    kill_sent: bool = False
    #: Of a reload, and not yet proven by a worker that got ready.
    candidate: bool = False
    #: It has sent Hello: it runs code of ours, and can be asked for its stack.
    is_running: bool = False
    #: It has nothing left to wait for, and must have ended by then.
    deadline: float | None = None

    @property
    def is_to_end(self) -> bool:
        """Return True if it ends by itself, after its last worker if it has any."""
        return self.phase in (Phase.FAILED, Phase.ENDING)


class NurseryRegistry:
    """Every nursery that has not ended, and when the next one may be started."""

    def __init__(self, backoff: Backoff, *, preload: bool) -> None:
        self._backoff = backoff
        self._nurseries: dict[int, NurseryProcess] = {}
        self._last = 0
        self.due_at = 0.0
        #: Given up when the code turned out unsafe to fork after its import.
        self.preload = preload
        #: When code was first loaded: the boot is timed from here.
        self.first_loaded_at: float | None = None

    @property
    def next_number(self) -> int:
        """The number of a generation that is started now."""
        return self._last + 1

    def add(
        self, pid: int, now: float, *, preload: bool, candidate: bool = False
    ) -> NurseryProcess:
        """Add the nursery that was just started."""
        self._last += 1
        nursery = NurseryProcess(self._last, pid, preload, now, candidate=candidate)
        self._nurseries[nursery.generation] = nursery
        return nursery

    def find(self, generation: int) -> NurseryProcess | None:
        """That generation's nursery, if it has not ended."""
        return self._nurseries.get(generation)

    def alive(self) -> list[NurseryProcess]:
        """All that have not ended, oldest first."""
        return list(self._nurseries.values())

    @property
    def current(self) -> NurseryProcess | None:
        """The newest one that workers can be forked from: a candidate only if there is no other."""
        loaded = [each for each in self._nurseries.values() if each.phase is Phase.LOADED]
        proven = [each for each in loaded if not each.candidate]
        return (proven or loaded or [None])[-1]

    def to_fork_from(self, generation: int | None) -> NurseryProcess | None:
        """That generation's nursery (None: the current one), if it is loaded."""
        nursery = self.current if generation is None else self.find(generation)
        return nursery if nursery is not None and nursery.phase is Phase.LOADED else None

    def promote(self, generation: int) -> list[NurseryProcess]:
        """Make a candidate current, since a worker of it got ready; the ones it replaces."""
        for nursery in self.alive():
            if nursery.generation == generation:
                nursery.candidate = False
                self.preload = nursery.preload
        useful = (Phase.LOADING, Phase.LOADED)
        return [n for n in self.alive() if n.generation < generation and n.phase in useful]

    def is_needed(self, now: float) -> bool:
        """Return True if a nursery is to be started: none is there or coming, no pause is on."""
        busy = (Phase.LOADING, Phase.LOADED, Phase.FAILED)
        return now >= self.due_at and not any(n.phase in busy for n in self.alive())

    def loaded(self, nursery: NurseryProcess, now: float) -> None:
        """Note that its code is imported."""
        nursery.phase = Phase.LOADED
        nursery.loaded_at = now
        if self.first_loaded_at is None:
            self.first_loaded_at = now

    def ended(self, nursery: NurseryProcess) -> None:
        """Note that its process is gone."""
        nursery.phase = Phase.DEAD
        self._nurseries.pop(nursery.generation, None)

    def pause_after(self, loaded_at: float | None, now: float) -> float:
        """The seconds until the next may be started, after one that had loaded then, or never."""
        pause = self._backoff.pause_after(0.0 if loaded_at is None else now - loaded_at)
        self.due_at = now + pause
        return pause
