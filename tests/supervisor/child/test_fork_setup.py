"""What a forked child undoes; that it does so is seen in test_nursery."""

import random
import sys
import weakref
from importlib.machinery import ModuleSpec
from io import StringIO
from multiprocessing.spawn import get_preparation_data
from pathlib import Path
from types import ModuleType

import pytest

from supervisor.child import fork_setup
from supervisor.system.stack_signal import stack_signal


def test_generators_that_were_loaded_are_reseeded(monkeypatch: pytest.MonkeyPatch) -> None:
    reseeded: list[str] = []
    numpy = ModuleType("numpy.random")
    numpy.seed = lambda: reseeded.append("numpy")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "numpy.random", numpy)
    monkeypatch.delitem(sys.modules, "uuid_utils", raising=False)
    before = random.getstate()

    fork_setup.reseed()

    assert reseeded == ["numpy"]
    assert random.getstate() != before


class Thing:
    """May be referred to weakly."""


def test_only_what_the_process_made_itself_is_finalized_last_in_first_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    thing, failures = Thing(), list[str]()
    monkeypatch.setattr(sys, "excepthook", lambda kind, *_: failures.append(kind.__name__))
    monkeypatch.setattr(weakref.finalize, "_registry", {})  # others' are not ours to run here
    weakref.finalize(thing, told.append, "inherited")
    fork_setup.disown_finalizers()
    weakref.finalize(thing, told.append, "first")
    weakref.finalize(thing, lambda: 1 // 0)
    weakref.finalize(thing, told.append, "last")

    fork_setup.finalize()

    assert told == ["last", "first"]
    assert failures == ["ZeroDivisionError"]


@pytest.mark.parametrize("file", [None, "/of/our/program.py"])
def test_a_spawned_process_has_no_program_to_import(
    monkeypatch: pytest.MonkeyPatch, file: str | None
) -> None:
    program = ModuleType("__main__")
    program.__spec__ = ModuleSpec("supervisor.nursery.program", None)
    if file is not None:
        program.__file__ = file
    monkeypatch.setitem(sys.modules, "__main__", program)

    fork_setup.hide_program()

    told = get_preparation_data("child")
    assert not [key for key in told if key.startswith("init_main")]


@pytest.mark.parametrize(("before", "after"), [(0, 250), (-1000, -750), (900, 1000)])
def test_the_oom_score_is_raised_within_its_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    score = tmp_path / "oom_score_adj"
    score.write_text(f"{before}\n")
    monkeypatch.setattr(fork_setup, "_OOM_SCORE", score)

    fork_setup.raise_oom_score()

    assert int(score.read_text()) == after


def test_a_score_that_cannot_be_written_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_setup, "_OOM_SCORE", tmp_path / "not-linux")

    fork_setup.raise_oom_score()


def test_a_closed_stream_does_not_keep_the_other_from_being_flushed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stream(StringIO):
        flushed = False

        def flush(self) -> None:
            self.flushed = True

    closed, open_ = StringIO(), Stream()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    monkeypatch.setattr(sys, "stderr", open_)

    fork_setup.flush()

    assert open_.flushed


def test_stacks_are_asked_for_by_a_signal_that_no_library_uses() -> None:
    assert stack_signal() > 34
