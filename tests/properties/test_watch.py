"""The workers that are dead, as a pure function of what was seen: never a living one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docket.services.steward import DeadWorkerDetector

PATIENCE = 10.0
GAP = 6.0

#: Seconds since the last look, and which consumers beat in between.
Looks = st.lists(
    st.tuples(
        st.integers(min_value=1, max_value=6),
        st.sets(st.sampled_from([b"a", b"b", b"c"])),
    ),
    max_size=40,
)


def test_a_beat_that_stands_still_for_longer_than_the_patience_is_a_death() -> None:
    watch = DeadWorkerDetector(PATIENCE, GAP)
    assert [watch.dead({b"a": 1}, 0, now, 0) for now in (0.0, 5.0, 10.0)] == [[], [], []]
    assert watch.dead({b"a": 1}, 0, 10.5, 0) == [b"a"]


def test_after_an_interruption_of_the_view_no_worker_is_dead_yet() -> None:
    watch = DeadWorkerDetector(PATIENCE, GAP)
    for now in (0.0, 5.0, 10.0):
        watch.dead({b"a": 1}, 0, now, 0)
    assert watch.dead({b"a": 1}, 0, 11.0, 1) == []
    assert watch.dead({b"a": 1}, 0, 16.0, 1) == []
    assert watch.dead({b"a": 1}, 0, 20.0, 1) == []
    assert watch.dead({b"a": 1}, 0, 22.0, 1) == [b"a"]


def test_after_a_server_that_stood_still_no_worker_is_dead_yet() -> None:
    # Every beat stood still with it, and the connection never broke.
    watch = DeadWorkerDetector(PATIENCE, GAP)
    watch.dead({b"a": 1, b"b": 1}, 0, 0.0, 0)
    assert watch.dead({b"a": 1, b"b": 1}, 0, 30.0, 0) == []


def test_a_worker_that_is_gone_from_the_register_is_forgotten() -> None:
    watch = DeadWorkerDetector(PATIENCE, GAP)
    watch.dead({b"a": 1}, 0, 0.0, 0)
    watch.dead({}, 0, 5.0, 0)
    assert watch.dead({b"a": 1}, 0, 11.0, 0) == []


@given(Looks)
def test_only_a_worker_that_did_not_beat_for_longer_than_the_patience_is_dead(
    looks: list[tuple[int, set[bytes]]],
) -> None:
    watch = DeadWorkerDetector(PATIENCE, GAP)
    now = 0.0
    beats = {b"a": 0, b"b": 0, b"c": 0}
    seen_since = dict.fromkeys(beats, 0.0)
    watch.dead(beats, 0, now, 0)
    for seconds, beaten in looks:
        now += seconds
        for name in beaten:
            beats[name] += 1
            seen_since[name] = now
        expected = {name for name in beats if now - seen_since[name] > PATIENCE}
        assert set(watch.dead(beats, 0, now, 0)) == expected


@given(Looks, st.lists(st.integers(min_value=0, max_value=3), min_size=40, max_size=40))
def test_however_the_view_is_interrupted_no_worker_is_declared_dead_sooner(
    looks: list[tuple[int, set[bytes]]], views: list[int]
) -> None:
    unbroken, broken = DeadWorkerDetector(PATIENCE, GAP), DeadWorkerDetector(PATIENCE, GAP)
    now, beats = 0.0, {b"a": 0, b"b": 0, b"c": 0}
    for (seconds, beaten), view in zip(looks, views, strict=False):
        now += seconds
        for name in beaten:
            beats[name] += 1
        assert set(broken.dead(beats, 0, now, view)) <= set(unbroken.dead(beats, 0, now, 0))


#: Milliseconds between two events, and what happens then: a beat of a, or a look.
Events = st.lists(
    st.tuples(st.integers(min_value=1, max_value=3000), st.booleans()), min_size=1, max_size=60
)


def seconds_of_silence(
    events: list[tuple[int, bool]], offset: int, step_at: int, step: int
) -> list[tuple[float, bool]]:
    """At each look: for how long a has not beaten, and whether it was taken for dead.

    offset: of the server's clock to ours, in ms; set by `step` ms at the event `step_at`.
    """
    watch = DeadWorkerDetector(PATIENCE, GAP)
    now = beaten = 0
    server_beat = offset
    found: list[tuple[float, bool]] = []
    for number, (passed, is_beat) in enumerate(events):
        now += passed
        server_now = offset + now + (step if number >= step_at else 0)
        if is_beat:
            beaten, server_beat = now, server_now
        else:
            dead = watch.dead({b"a": server_beat}, server_now, now / 1000, 0)
            found.append(((now - beaten) / 1000, dead == [b"a"]))
    return found


@given(Events, st.integers(min_value=-(10**9), max_value=10**12))
def test_whatever_the_servers_clock_says_no_worker_is_declared_dead_before_the_patience_is_over(
    events: list[tuple[int, bool]], offset: int
) -> None:
    for silence, is_dead in seconds_of_silence(events, offset, 1000, 0):
        assert not is_dead or silence > PATIENCE


@given(Events, st.integers(0, 60), st.integers(min_value=-(10**8), max_value=10**8))
def test_a_servers_clock_that_is_set_is_believed_back_to_the_last_look_and_no_further(
    events: list[tuple[int, bool]], step_at: int, step: int
) -> None:
    for silence, is_dead in seconds_of_silence(events, 0, step_at, step):
        assert not is_dead or silence > PATIENCE - GAP


def test_a_death_is_noticed_when_the_patience_ends_and_not_a_look_later() -> None:
    watch = DeadWorkerDetector(PATIENCE, GAP)
    watch.dead({b"a": 1000}, 1000, 1.0, 0)
    # It beat right after that look, and never again.
    assert watch.dead({b"a": 1100}, 3000, 3.0, 0) == []
    assert watch.next_deadline() == pytest.approx(11.1)
    for now in (5, 7, 9, 11):
        assert watch.dead({b"a": 1100}, now * 1000, now, 0) == []
    assert watch.dead({b"a": 1100}, 11_150, 11.15, 0) == [b"a"]


def test_without_workers_no_patience_ends() -> None:
    watch = DeadWorkerDetector(PATIENCE, GAP)
    watch.dead({}, 0, 0.0, 0)
    assert watch.next_deadline() == math.inf
