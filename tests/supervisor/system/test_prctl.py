"""The one call of prctl."""

import sys

import pytest

from supervisor.system import prctl


def test_prctl_is_refused_for_an_option_that_is_none() -> None:
    assert not prctl.prctl(-1, 0)


def test_prctl_is_no_more_than_false_on_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not prctl.prctl(prctl.NAME, b"name")
