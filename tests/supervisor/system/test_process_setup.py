"""File limit, name and directory of a process, tried out in forks."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.system import process_setup, standard_streams
from tests.support.processes import fork


def holds_in_a_fork(check: Callable[[], bool]) -> bool:
    """Run the check in a child, which may change everything about itself."""
    pid = fork()
    if pid == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_standard_streams_that_are_closed_are_opened_on_dev_null() -> None:
    def check() -> bool:
        os.close(0)
        os.close(2)
        standard_streams.open_standard_streams()
        null = Path(os.devnull).stat()
        inherited = os.get_inheritable(0) and os.get_inheritable(2)
        return inherited and all(os.path.samestat(os.fstat(fd), null) for fd in (0, 2))

    assert holds_in_a_fork(check)


def test_standard_streams_that_are_open_stay_as_they_are() -> None:
    def check() -> bool:
        before = [os.fstat(fd) for fd in range(3)]
        lowest = os.dup(0)
        os.close(lowest)
        standard_streams.open_standard_streams()
        again = os.dup(0)
        return again == lowest and before == [os.fstat(fd) for fd in range(3)]

    assert holds_in_a_fork(check)


def test_the_limit_of_open_files_is_raised_to_the_hard_one() -> None:
    def check() -> bool:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        process_setup.raise_file_limit()
        process_setup.raise_file_limit()
        return resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)

    assert holds_in_a_fork(check)


def test_a_system_that_refuses_the_limit_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, -1))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    process_setup.raise_file_limit()


def test_the_program_has_a_name_of_its_own() -> None:
    def check() -> bool:
        process_setup.take_name()
        return Path("/proc/self/comm").read_text().strip() == "docket-supervis"

    assert holds_in_a_fork(check)


def test_the_directory_is_the_one_that_the_user_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = tmp_path / "release-1"
    release.mkdir()
    current = tmp_path / "current"
    current.symlink_to(release)
    monkeypatch.chdir(current)
    monkeypatch.setenv("PWD", str(current))
    assert process_setup.logical_directory() == str(current)


@pytest.mark.parametrize("pwd", ["", "relative", "/nowhere/at/all", "/"])
def test_a_pwd_of_another_directory_is_ignored(
    pwd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", pwd)
    assert process_setup.logical_directory() == str(tmp_path.resolve())
