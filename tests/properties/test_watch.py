"""Who is dead, as a pure function of what was seen: the living are never buried."""

from hypothesis import given
from hypothesis import strategies as st

from docket.services.steward import Watch

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
    watch = Watch(PATIENCE, GAP)
    assert [watch.dead({b"a": 1}, now, 0) for now in (0.0, 5.0, 10.0)] == [[], [], []]
    assert watch.dead({b"a": 1}, 10.5, 0) == [b"a"]


def test_after_an_interruption_of_the_view_nobody_is_dead_yet() -> None:
    watch = Watch(PATIENCE, GAP)
    for now in (0.0, 5.0, 10.0):
        watch.dead({b"a": 1}, now, 0)
    assert watch.dead({b"a": 1}, 11.0, 1) == []
    assert watch.dead({b"a": 1}, 16.0, 1) == []
    assert watch.dead({b"a": 1}, 20.0, 1) == []
    assert watch.dead({b"a": 1}, 22.0, 1) == [b"a"]


def test_after_a_server_that_stood_still_nobody_is_dead_yet() -> None:
    # Every beat stood still with it, and the connection never broke.
    watch = Watch(PATIENCE, GAP)
    watch.dead({b"a": 1, b"b": 1}, 0.0, 0)
    assert watch.dead({b"a": 1, b"b": 1}, 30.0, 0) == []


def test_who_is_gone_from_the_register_is_forgotten() -> None:
    watch = Watch(PATIENCE, GAP)
    watch.dead({b"a": 1}, 0.0, 0)
    watch.dead({}, 5.0, 0)
    assert watch.dead({b"a": 1}, 11.0, 0) == []


@given(Looks)
def test_only_who_did_not_beat_for_longer_than_the_patience_is_dead(
    looks: list[tuple[int, set[bytes]]],
) -> None:
    watch = Watch(PATIENCE, GAP)
    now = 0.0
    beats = {b"a": 0, b"b": 0, b"c": 0}
    seen_since = dict.fromkeys(beats, 0.0)
    watch.dead(beats, now, 0)
    for seconds, beaten in looks:
        now += seconds
        for name in beaten:
            beats[name] += 1
            seen_since[name] = now
        expected = {name for name in beats if now - seen_since[name] > PATIENCE}
        assert set(watch.dead(beats, now, 0)) == expected


@given(Looks, st.lists(st.integers(min_value=0, max_value=3), min_size=40, max_size=40))
def test_however_the_view_is_interrupted_nobody_dies_sooner(
    looks: list[tuple[int, set[bytes]]], views: list[int]
) -> None:
    unbroken, broken = Watch(PATIENCE, GAP), Watch(PATIENCE, GAP)
    now, beats = 0.0, {b"a": 0, b"b": 0, b"c": 0}
    for (seconds, beaten), view in zip(looks, views, strict=False):
        now += seconds
        for name in beaten:
            beats[name] += 1
        assert set(broken.dead(beats, now, view)) <= set(unbroken.dead(beats, now, 0))
