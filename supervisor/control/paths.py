"""Where control sockets are: which folder, which name, and whose folder may be trusted.

A pool that is not told a path takes the first of these folders that it can use, and `ctl` looks
through all of them:

    $RUNTIME_DIRECTORY          made by systemd for the service
    $XDG_RUNTIME_DIR            made by the login for the user
    /tmp/docket-supervisor-UID  made here, for systems with neither

In /tmp anybody may have made that folder before us, to be the one that `ctl` talks to; so it is
used only if it is a real folder, ours, and closed to others.
"""

import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from supervisor.errors import ConfigurationError, InvalidOption, NoPlace

SUFFIX = ".sock"
#: Where the folder of last resort stands: where every user may make one, and $TMPDIR, which may
#: differ between a service and the shell that asks for it, has no say.
TEMPORARY = Path("/tmp")
#: What sun_path holds, less the zero at its end.
MAX_PATH_BYTES = 107 if sys.platform == "linux" else 103
#: Of a docket's name in the name of its socket, at most.
MAX_NAME = 40

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_FOR_FILES = re.compile(r"[^A-Za-z0-9._-]+")


def default_path(docket: str, pid: int, environment: Mapping[str, str]) -> Path:
    """Where the control socket of this pool is to be; makes the folder if it is the one in /tmp.

    Arguments:
        docket: its name; what a file name should not have becomes an underscore.
        environment: usually os.environ.

    Raises:
        NoPlace: the folder in /tmp cannot be made.
        ConfigurationError: it is not ours alone.
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
    """Every folder in which the control sockets of this user may be."""
    ours = own_folder()
    return [*_given(environment), *([ours] if _fault_of(ours) is None else [])]


def own_folder() -> Path:
    """The folder of last resort, /tmp/docket-supervisor-UID."""
    return TEMPORARY / f"docket-supervisor-{os.geteuid()}"


def given_path(path: str) -> Path:
    """The path of `--control` as an absolute one.

    Raises:
        InvalidOption: it is longer than the system lets the path of a socket be.
    """
    absolute = Path(path).absolute()
    if not _fits(absolute):
        raise InvalidOption("--control", path, f"a path of at most {MAX_PATH_BYTES} bytes")
    return absolute


def _given(environment: Mapping[str, str]) -> Iterator[Path]:
    # systemd gives every RuntimeDirectory= of the unit, with colons between.
    for variable in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        folder = environment.get(variable, "").partition(":")[0]
        if folder.startswith("/") and Path(folder).is_dir():
            yield Path(folder)


def _is_usable(folder: Path) -> bool:
    """Whether we may make files there. After `su` or `sudo -E` the variable names another's."""
    return os.access(folder, os.W_OK | os.X_OK) and folder.stat().st_uid in (os.geteuid(), 0)


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= MAX_PATH_BYTES


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        pass  # whose it is is looked at next, whoever made it
    except OSError as error:
        raise NoPlace(
            f"--control: cannot make the folder {folder}: {error.strerror};"
            " give the path of a socket in a folder that can be written to"
        ) from None
    fault = _fault_of(folder)
    if fault is not None:
        raise ConfigurationError(
            f"--control: {folder} {fault}, so it is not used;"
            " remove it, or give the path of a socket elsewhere"
        )


def _fault_of(folder: Path) -> str | None:
    """Why the folder is not to be trusted, if it is not: looked at as one thing, by its fd."""
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
