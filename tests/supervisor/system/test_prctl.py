"""The one call of prctl."""

import sys

import pytest

from supervisor.system.prctl import prctl


def test_an_unknown_option_is_refused() -> None:
    assert not prctl(-1, 0)


def test_another_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not prctl(15, b"name")
