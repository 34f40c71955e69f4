"""The paths of control sockets: their folders, their names, and which folders are trusted.

A pool without a path of its own takes the first of these folders that it can use, and `ctl`
searches all of them:

    $RUNTIME_DIRECTORY          made by systemd for the service
    $XDG_RUNTIME_DIR            made by the login for the user
    /tmp/docket-supervisor-UID  made here, for systems with neither

In /tmp another user may have made that folder first, to be the one that `ctl` talks to; so it is
used only if it is a real folder, ours, and closed to others. No folder is used in which others may
put files of their own into the place of ours.
"""

import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from supervisor.errors import ConfigurationError, InvalidOption, NoPlace

SUFFIX = ".sock"
#: The parent of the folder of last resort, in which every user may make one. Not $TMPDIR, which may
#: differ between a service and the shell in which `ctl` runs.
TEMPORARY = Path("/tmp")
#: The size of sun_path, less the zero at its end.
MAX_PATH_BYTES = 107 if sys.platform == "linux" else 103
#: Most characters of a docket's name in the name of its socket.
MAX_NAME = 40

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_FOR_FILES = re.compile(r"[^A-Za-z0-9._-]+")


def default_path(docket: str, pid: int, environment: Mapping[str, str]) -> Path:
    """The path for the control socket of this pool; makes the folder if it is the one in /tmp.

    Arguments:
        docket: its name; characters that do not belong in a file name become underscores.
        environment: usually os.environ.

    Raises:
        NoPlace: the folder in /tmp cannot be made, or is not ours alone.
    """
    name = _NOT_FOR_FILES.sub("_", docket)[:MAX_NAME].lstrip(".") or "_"
    file = f"{name}-{pid}{SUFFIX}"
    for folder in _given(environment):
        if _is_usable(folder) and _fits(folder / file):
            return folder / file
    folder = own_folder()
    _make_private(folder)
    return folder / file


def folders(environment: Mapping[str, str]) -> list[Path]:
    """List the folders in which the control sockets of this user may be."""
    ours = own_folder()
    return [*_given(environment), *([ours] if _fault_of(ours) is None else [])]


def own_folder() -> Path:
    """The folder of last resort, /tmp/docket-supervisor-UID."""
    return TEMPORARY / f"docket-supervisor-{os.geteuid()}"


def given_path(path: str) -> Path:
    """Make the path of `--control` absolute.

    Raises:
        InvalidOption: it is longer than the path of a socket may be.
        ConfigurationError: others may write to its folder.
    """
    try:
        absolute = Path(path).absolute()
    except OSError as error:  # the working directory is gone
        accepted = f"an absolute path, since there is no working directory ({error.strerror})"
        raise InvalidOption("--control", path, accepted) from error
    if not _fits(absolute):
        raise InvalidOption("--control", path, f"a path of at most {MAX_PATH_BYTES} bytes")
    folder = absolute.parent
    if folder.is_dir() and _is_shared(folder.stat()):
        raise ConfigurationError(
            f"--control: others may replace files in {folder}, and so the socket;"
            " give the path of a socket in a folder that they cannot write to"
        )
    return absolute


def _given(environment: Mapping[str, str]) -> Iterator[Path]:
    # systemd gives every RuntimeDirectory= of the unit, with colons between.
    for variable in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        folder = environment.get(variable, "").partition(":")[0]
        # Not by pathlib, which raises where it may not look.
        if folder.startswith("/") and os.path.isdir(folder):  # noqa: PTH112
            yield Path(folder)


def _is_usable(folder: Path) -> bool:
    """Tell whether it is ours to write to: after `su` or `sudo -E` it is another user's."""
    found = folder.stat()
    is_trusted = found.st_uid in (os.geteuid(), 0) and not _is_shared(found)
    return is_trusted and os.access(folder, os.W_OK | os.X_OK)


def _is_shared(folder: os.stat_result) -> bool:
    """Tell whether others may remove files of ours: they may write, and it is not sticky."""
    others = stat.S_IWGRP | stat.S_IWOTH
    return bool(folder.st_mode & others) and not folder.st_mode & stat.S_ISVTX


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= MAX_PATH_BYTES


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        pass  # its owner is checked next
    except OSError as error:
        raise NoPlace(
            f"--control: cannot make the folder {folder}: {error.strerror};"
            " give the path of a socket in a folder that can be written to"
        ) from None
    fault = _fault_of(folder)
    if fault is not None:
        raise NoPlace(
            f"--control: {folder} {fault}, so it is not used;"
            " remove it, or give the path of a socket elsewhere"
        )


def _fault_of(folder: Path) -> str | None:
    """The reason not to trust the folder, if there is one: all is asked of one descriptor."""
    try:
        fd = os.open(folder, _OPEN_FOLDER)
    except FileNotFoundError:
        return "is not there"
    except OSError:
        return "is a symbolic link or no folder"
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    if found.st_uid != os.geteuid():
        return f"belongs to the user with uid {found.st_uid}"
    if stat.S_IMODE(found.st_mode) & 0o077:
        return f"is open to others (mode {stat.S_IMODE(found.st_mode):04o})"
    return None
