"""The paths of control sockets: folders by the environment, and which of them are trusted."""

import os
from pathlib import Path

import pytest

from supervisor.control import paths
from supervisor.control.paths import default_path, folders, given_path
from supervisor.errors import ConfigurationError, InvalidOption, NoPlace

NOBODY = 65534


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for /tmp."""
    monkeypatch.setattr(paths, "TEMPORARY", tmp_path / "tmp")
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


def folder(tmp_path: Path, name: str) -> str:
    (tmp_path / name).mkdir()
    return str(tmp_path / name)


def own(temporary: Path) -> Path:
    return temporary / f"docket-supervisor-{os.geteuid()}"


def test_the_services_folder_comes_before_the_users_and_that_before_the_one_in_tmp(
    tmp_path: Path, temporary: Path
) -> None:
    service, user = folder(tmp_path, "service"), folder(tmp_path, "user")
    both = {"RUNTIME_DIRECTORY": service, "XDG_RUNTIME_DIR": user}
    assert default_path("orders", 12, both) == Path(service, "orders-12.sock")
    assert default_path("orders", 12, {"XDG_RUNTIME_DIR": user}) == Path(user, "orders-12.sock")
    assert not own(temporary).exists()
    assert default_path("orders", 12, {}) == own(temporary) / "orders-12.sock"
    assert own(temporary).stat().st_mode & 0o777 == 0o700
    assert folders(both) == [Path(service), Path(user), own(temporary)]


def test_of_several_folders_of_a_service_the_first_is_taken(
    tmp_path: Path, temporary: Path
) -> None:
    first, second = folder(tmp_path, "first"), folder(tmp_path, "second")
    assert default_path("d", 1, {"RUNTIME_DIRECTORY": f"{first}:{second}"}).parent == Path(first)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("value", ["", "relative", "/no/such/folder"])
def test_a_variable_that_names_no_folder_is_ignored(value: str, temporary: Path) -> None:
    assert default_path("d", 1, {"XDG_RUNTIME_DIR": value}).parent == own(temporary)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder away")
def test_the_folder_that_su_leaves_in_the_environment_is_ignored(
    tmp_path: Path, temporary: Path
) -> None:
    theirs = folder(tmp_path, "theirs")
    os.chown(theirs, NOBODY, NOBODY)
    assert default_path("d", 1, {"XDG_RUNTIME_DIR": theirs}).parent == own(temporary)


@pytest.mark.parametrize(
    ("docket", "file"),
    [
        ("orders", "orders-7.sock"),
        ("a/b c:d", "a_b_c_d-7.sock"),
        ("..", "_-7.sock"),
        (".hidden", "hidden-7.sock"),
        ("größe", "gr_e-7.sock"),
        ("x" * 300, "x" * 40 + "-7.sock"),
    ],
)
def test_a_docket_names_its_socket_as_far_as_a_file_name_can(
    docket: str, file: str, temporary: Path
) -> None:
    assert default_path(docket, 7, {}).name == file


def test_a_folder_whose_path_leaves_no_room_for_a_socket_is_ignored(
    tmp_path: Path, temporary: Path
) -> None:
    deep = folder(tmp_path, "d" * 100)
    assert default_path("d", 1, {"XDG_RUNTIME_DIR": deep}).parent == own(temporary)


def test_a_link_in_place_of_the_folder_in_tmp_is_refused(tmp_path: Path, temporary: Path) -> None:
    own(temporary).symlink_to(folder(tmp_path, "elsewhere"))
    with pytest.raises(ConfigurationError, match=r"symbolic link or no folder, so it is not used"):
        default_path("d", 1, {})
    assert folders({}) == []


def test_a_file_in_place_of_the_folder_in_tmp_is_refused(temporary: Path) -> None:
    own(temporary).touch()
    with pytest.raises(ConfigurationError, match="symbolic link or no folder"):
        default_path("d", 1, {})


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder away")
def test_a_folder_in_tmp_that_another_user_made_is_refused(temporary: Path) -> None:
    own(temporary).mkdir(0o700)
    os.chown(own(temporary), NOBODY, NOBODY)
    with pytest.raises(ConfigurationError, match=f"belongs to the user with uid {NOBODY}"):
        default_path("d", 1, {})
    assert folders({}) == []


def test_a_folder_in_tmp_that_others_may_enter_is_refused(temporary: Path) -> None:
    own(temporary).mkdir()
    own(temporary).chmod(0o755)
    with pytest.raises(ConfigurationError, match=r"open to others \(mode 0755\)"):
        default_path("d", 1, {})
    assert folders({}) == []


def test_the_error_about_a_folder_that_cannot_be_made_says_what_to_do(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "TEMPORARY", temporary / "missing")
    with pytest.raises(NoPlace, match="No such file or directory; give the path of a socket"):
        default_path("d", 1, {})
    assert folders({}) == []


def test_a_given_path_is_made_absolute() -> None:
    assert given_path("here.sock") == Path.cwd() / "here.sock"


def test_a_given_path_that_no_socket_can_have_is_refused_by_its_length() -> None:
    longest = "/" + "x" * (paths.MAX_PATH_BYTES - 1)
    assert given_path(longest) == Path(longest)
    with pytest.raises(InvalidOption, match=r"--control: got .* expected a path of at most \d+ b"):
        given_path(longest + "x")


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_in_which_others_may_replace_files_is_not_used(
    tmp_path: Path, temporary: Path, mode: int
) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(ConfigurationError, match="others may replace files"):
        paths.given_path(str(tmp_path / "pool.sock"))
    chosen = paths.default_path("d", 1, {"RUNTIME_DIRECTORY": str(tmp_path)})
    assert chosen.parent != tmp_path
    tmp_path.chmod(0o1777)  # sticky, as /tmp: what is ours stays ours
    assert paths.given_path(str(tmp_path / "pool.sock")) == tmp_path / "pool.sock"
