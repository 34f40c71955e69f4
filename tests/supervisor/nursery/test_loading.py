"""How a nursery begins: what it loads, and what it refuses to load or to fork."""

from pathlib import Path

import pytest

from ipc.messages import PROTOCOL, Hello, LoadFailed, Retire, Unsafe
from tests.support.nursery import NurseryProcess, puppets, settings

THEIRS = ["their_tasks:tasks"]


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A user's module, empty so far."""
    file = tmp_path / "their_tasks.py"
    file.write_text("tasks = []\n")
    return file


def refusal(nursery: NurseryProcess) -> LoadFailed:
    failed = nursery.next(LoadFailed)
    assert nursery.wait() == 1
    return failed


def test_a_module_that_does_not_import_is_reported_with_the_users_own_traceback(
    module: Path,
) -> None:
    module.write_text("def deeper():\n    import nothing_there\ndeeper()\n")
    with puppets() as nursery:
        nursery.send(settings(module.parent, tasks=THEIRS, generation=3))

        failed = refusal(nursery)

    assert failed.generation == 3
    assert failed.reason == (
        "cannot import 'their_tasks' of 'their_tasks:tasks': "
        "ModuleNotFoundError: No module named 'nothing_there'"
    )
    lines = failed.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert str(module) in lines[1]


def test_a_module_that_exits_on_import_is_reported(module: Path) -> None:
    module.write_text("raise SystemExit('set DATABASE_URL first')\n")
    with puppets() as nursery:
        nursery.send(settings(module.parent, tasks=THEIRS))

        assert "SystemExit: set DATABASE_URL first" in refusal(nursery).reason


def test_another_protocol_is_refused_with_the_remedy(module: Path) -> None:
    with puppets() as nursery:
        nursery.send(settings(module.parent, protocol=PROTOCOL + 1))

        assert "restart the supervisor" in refusal(nursery).reason


def test_a_first_frame_that_is_no_settings_is_refused_with_the_remedy(module: Path) -> None:
    with puppets() as nursery:
        nursery.send(Retire())

        failed = refusal(nursery)

    assert "was sent Retire first" in failed.reason
    assert "restart the supervisor" in failed.reason


def test_settings_that_this_code_does_not_understand_are_refused_with_the_remedy() -> None:
    with puppets() as nursery:
        nursery.send(Hello(PROTOCOL, 1))

        failed = refusal(nursery)

    assert "does not understand its settings" in failed.reason
    assert "restart the supervisor" in failed.reason


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with puppets() as nursery:
        nursery.send(settings(tmp_path / "gone"))

        assert "cannot change to the working directory" in refusal(nursery).reason


def test_a_connection_made_by_the_import_is_unsafe(module: Path) -> None:
    module.write_text(
        "import socket\n"
        "listening = socket.create_server(('127.0.0.1', 0))\n"
        "connected = socket.create_connection(listening.getsockname())\n"
        "tasks = []\n"
    )
    with puppets() as nursery:
        nursery.send(settings(module.parent, tasks=THEIRS, generation=5))

        unsafe = nursery.next(Unsafe)

        assert unsafe.generation == 5
        [reason] = unsafe.reasons
        assert "to 127.0.0.1:" in reason
        assert nursery.wait() == 1


def test_a_thread_started_by_the_import_is_unsafe(module: Path) -> None:
    module.write_text(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, name='exporter', daemon=True).start()\n"
        "tasks = []\n"
    )
    with puppets() as nursery:
        nursery.send(settings(module.parent, tasks=THEIRS))

        assert nursery.next(Unsafe).reasons == ["a running thread, 'exporter'"]
        assert nursery.wait() == 1
