import os
import sysconfig
from pathlib import Path

import pytest

from supervisor.demo.source_files import find
from supervisor.errors import ConfigurationError
from supervisor.exit_codes import ExitCode


def keys_under(path: Path) -> list[str]:
    return [source.key for source in find(path).files]


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("pass\n")


def test_every_python_file_is_found_once_in_order_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "b.py", tmp_path / "a" / "c.py", tmp_path / "a" / "d.txt", tmp_path / "py")
    assert keys_under(tmp_path) == ["b.py", "a/c.py"]


def test_a_source_has_the_path_to_open_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "lib" / "a.py")
    monkeypatch.chdir(tmp_path)
    (source,) = find(Path("lib")).files
    assert source.path == str(tmp_path / "lib" / "a.py")


def test_a_single_file_is_input_enough(tmp_path: Path) -> None:
    write(tmp_path / "a.py")
    assert keys_under(tmp_path / "a.py") == ["a.py"]


def test_a_link_to_a_folder_is_not_followed_and_one_to_a_file_is(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b.py")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "c.py").symlink_to(tmp_path / "a" / "b.py")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    assert keys_under(tmp_path) == ["c.py", "a/b.py"]


def test_pipes_and_folders_are_no_files(tmp_path: Path) -> None:
    write(tmp_path / "a.py")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    assert keys_under(tmp_path) == ["a.py"]


def test_a_name_that_is_not_utf_8_gets_a_key_that_is(tmp_path: Path) -> None:
    write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.py")))
    (source,) = find(tmp_path).files
    assert source.key.encode() == rb"\udcff.py"
    assert os.fsencode(source.path).endswith(b"/\xff.py")


def test_the_standard_library_is_the_default_without_what_is_installed_beside_it() -> None:
    found = find(None)
    keys = {source.key for source in found.files}
    assert found.root == sysconfig.get_path("stdlib")
    assert {"ast.py", "asyncio/tasks.py"} <= keys
    assert not any("site-packages" in key for key in keys)


def test_installed_packages_are_found_where_they_are_the_input(tmp_path: Path) -> None:
    write(tmp_path / "site-packages" / "a.py")
    assert keys_under(tmp_path) == ["site-packages/a.py"]


@pytest.mark.parametrize("name", ["missing", "empty", "notes.txt", "missing/deeper"])
def test_a_path_without_input_is_refused_in_one_line_that_names_it(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigurationError, match=name) as caught:
        find(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_folder_that_cannot_be_read_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.py", tmp_path / "secret" / "b.py")
    refuse(tmp_path / "secret", monkeypatch)
    found = find(tmp_path)
    assert [source.key for source in found.files] == ["a.py"]
    assert found.unreadable == (str(tmp_path / "secret"),)
    with pytest.raises(ConfigurationError, match=r"secret cannot be read"):
        find(tmp_path / "secret")


def test_a_path_that_may_not_even_be_looked_at_is_as_good_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stat(self: Path, **_: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(self))

    write(tmp_path / "a.py")
    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(ConfigurationError, match="there is no"):
        find(tmp_path)


def refuse(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As to a user without the permission: root, who may run the tests, is refused nothing."""
    scandir = os.scandir

    def refusing(path: str) -> object:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
