"""The size of a pool that follows its work, under any load and under a constant one."""

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from supervisor.pool.state.scaling import GROW_SECONDS, Direction, Load, ScalingPolicy, SizeChange
from supervisor.process_range import ProcessRange

LOOK_SECONDS = 0.25
#: The steward tells of the server this often.
READ_SECONDS = 2.0


@st.composite
def bounds(draw: st.DrawFn) -> ProcessRange:
    least = draw(st.integers(1, 20))
    return ProcessRange(least, least + draw(st.integers(0, 60)))


@st.composite
def looks(draw: st.DrawFn) -> list[tuple[float, float, float, bool, bool]]:
    """Of each: seconds since the last, the wait, the part of places taken, fresh, held."""
    one = st.tuples(
        st.sampled_from([LOOK_SECONDS, 1.0, GROW_SECONDS, 4.0, 70.0]),
        st.floats(0.0, 100.0),
        st.floats(0.0, 1.0),
        st.booleans(),
        st.booleans(),
    )
    # Long stretches of one kind: an idle minute made of independent looks never happens.
    runs = draw(st.lists(st.tuples(one, st.integers(1, 80)), max_size=20))
    return [look for look, times in runs for _ in range(times)]


@given(
    within=bounds(),
    up_wait=st.floats(0.001, 30.0),
    down_idle=st.floats(0.001, 90.0),
    seen=looks(),
)
def test_no_load_breaks_the_bounds_or_the_pace(
    within: ProcessRange,
    up_wait: float,
    down_idle: float,
    seen: list[tuple[float, float, float, bool, bool]],
) -> None:
    policy = ScalingPolicy(within, up_wait, down_idle)
    processes, now, read_at = within.least, 0.0, 0.0
    changes: list[SizeChange] = []
    for passed, wait, taken, fresh, held in seen:
        now += passed
        read_at = now if fresh else read_at
        because = "held" if held else None
        look = Load(processes, processes, taken * processes, wait, read_at, because)
        change = policy.decide(look, now)
        if change is None:
            continue
        assert not held
        assert change.before == processes
        assert within.least <= change.processes <= within.most
        if change.direction is Direction.UP:
            assert processes < change.processes <= 2 * processes
            assert wait > up_wait
        else:
            assert change.processes == processes - 1
            assert wait <= up_wait
        changes.append(change)
        processes = change.processes
    for former, later in pairwise(changes):
        if later.direction is Direction.DOWN:
            assert later.at - former.at >= down_idle
        elif former.direction is Direction.UP:
            assert later.at - former.at >= GROW_SECONDS


@dataclass
class SimulatedPool:
    """A queue that workers with places take from; new ones take a moment to get ready."""

    policy: ScalingPolicy
    concurrency: int
    #: Tasks that come in a second, and the seconds that each runs.
    rate: float
    seconds: float
    start_seconds: float
    queued: float
    processes: int
    now: float = 0.0
    #: Whether the workers show what they do: blocked loops do not.
    shows: bool = True
    changes: list[SizeChange] = field(default_factory=list)
    _ready_at: float = 0.0
    _wait: float = 0.0
    _read_at: float = -READ_SECONDS

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self._step()

    def _step(self) -> None:
        self.now += LOOK_SECONDS
        places = self.processes * self.concurrency
        per_second = places / self.seconds
        self.queued = max(0.0, self.queued + (self.rate - per_second) * LOOK_SECONDS)
        used = places if self.queued > 0 else min(places, round(self.rate * self.seconds))
        if self.now - self._read_at >= READ_SECONDS:
            # What came first waits for all that is before it.
            self._wait, self._read_at = self.queued / per_second, self.now
        held = "workers start" if self.now < self._ready_at else None
        busy = used / self.concurrency if self.shows else 0.0
        look = Load(self.processes, self.processes, busy, self._wait, self._read_at, held)
        change = self.policy.decide(look, self.now)
        if change is not None:
            self.changes.append(change)
            self.processes = change.processes
            if change.direction is Direction.UP:
                self._ready_at = self.now + self.start_seconds


@settings(max_examples=60, deadline=None)
@given(
    within=bounds(),
    concurrency=st.integers(1, 20),
    load=st.floats(0.0, 1.2),
    seconds=st.floats(0.01, 20.0),
    start_seconds=st.floats(0.0, 10.0),
    burst=st.integers(0, 5000),
    begin=st.floats(0.0, 1.0),
)
@example(ProcessRange(1, 2), 1, 0.5, 1.0, 0.0, 0, 1.0)
@example(ProcessRange(1, 80), 1, 0.7, 20.0, 10.0, 5000, 0.0)
def test_a_constant_load_never_moves_the_size_to_and_fro(
    within: ProcessRange,
    concurrency: int,
    load: float,
    seconds: float,
    start_seconds: float,
    burst: int,
    begin: float,
) -> None:
    """It grows with what waited at the start, then shrinks to what the load needs, and stays."""
    pool = SimulatedPool(
        policy=ScalingPolicy(within, 1.0, 20.0),
        concurrency=concurrency,
        rate=load * within.most * concurrency / seconds,
        seconds=seconds,
        start_seconds=start_seconds,
        queued=float(burst),
        processes=within.least + round(begin * (within.most - within.least)),
    )
    pool.run(400.0)
    directions = [each.direction for each in pool.changes]
    assert directions == sorted(directions, key=list(Direction).index)


@settings(max_examples=15, deadline=None)
@given(
    concurrency=st.integers(1, 20),
    needed=st.floats(1.1, 7.9),
    seconds=st.floats(0.05, 2.0),
)
def test_a_load_that_the_workers_do_not_show_moves_the_size_rarely(
    concurrency: int, needed: float, seconds: float
) -> None:
    pool = SimulatedPool(
        policy=ScalingPolicy(ProcessRange(1, 8), 1.0, 10.0),
        concurrency=concurrency,
        rate=needed * concurrency / seconds,
        seconds=seconds,
        start_seconds=0.5,
        queued=0.0,
        processes=8,
        shows=False,
    )
    pool.run(1000.0)
    pairs = pairwise(each.direction for each in pool.changes)
    taken_back = sum(pair == (Direction.DOWN, Direction.UP) for pair in pairs)
    # A size that is left after 10 s and taken again at once would be both seventy times. Soon after
    # that it takes twice the time, up to five times; long after, 40 s have passed beside the ten.
    assert taken_back <= 2 * 5 + 1000 / (10 + 40)


@settings(max_examples=60, deadline=None)
@given(
    most=st.integers(2, 64),
    concurrency=st.integers(1, 20),
    seconds=st.floats(0.05, 5.0),
    start_seconds=st.floats(0.0, 2.0),
)
def test_a_lasting_overload_has_every_process_within_a_few_doublings(
    most: int, concurrency: int, seconds: float, start_seconds: float
) -> None:
    pool = SimulatedPool(
        policy=ScalingPolicy(ProcessRange(1, most), 1.0, 60.0),
        concurrency=concurrency,
        rate=2 * most * concurrency / seconds,
        seconds=seconds,
        start_seconds=start_seconds,
        queued=0.0,
        processes=1,
    )
    doublings = (most - 1).bit_length()
    each = max(GROW_SECONDS, start_seconds) + READ_SECONDS + LOOK_SECONDS
    # Twice: the first waits are short, and a step in proportion to one is less than a doubling.
    pool.run(READ_SECONDS + 2 * doublings * each)
    assert pool.processes == most
