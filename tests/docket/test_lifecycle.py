"""The table of states says of itself what it should."""

from docket.lifecycle import LIVE, TERMINAL, TRANSITIONS, ExecutionState


def test_every_state_is_live_or_terminal_and_stands_in_the_table() -> None:
    assert set(ExecutionState) == LIVE | TERMINAL == set(TRANSITIONS)
    assert not LIVE & TERMINAL


def test_what_has_ended_stays_so_and_what_lives_can_end() -> None:
    assert all(not TRANSITIONS[state] for state in TERMINAL)
    assert all(TRANSITIONS[state] & TERMINAL for state in LIVE)


def test_the_values_are_what_users_read() -> None:
    assert [state.value for state in ExecutionState] == (
        "scheduled queued running completed failed cancelled".split()
    )
