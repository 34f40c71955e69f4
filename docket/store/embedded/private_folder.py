"""The data folder of an embedded server: made private, and checked before a server reads it.

Whoever can put a file there has the server append to another file (a link), or run code as its
owner (a strike in an append-only file is a pickle). So every name at every level has to be a file
of ours alone, and nobody else may replace a folder on the way.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from docket.errors import EmbeddedServerError
from docket.store.embedded.guard import LOCK_FILE

#: Either of these identifies a folder as that of an embedded server.
_OURS: Final = {LOCK_FILE, "appendonlydir"}
#: Names allowed in a new folder: a freshly formatted volume has them. Root's, and never entered.
_HARMLESS: Final = {"lost+found"}

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_private(url: str, folder: Path) -> int:
    """Open the data folder, made if necessary, and restrict it to this user (0700).

    The descriptor ensures that the folder used is the one checked. Refused are a symlink (its
    target may be replaced), another user's folder or parent, a name in it that is not ours alone,
    and one with other content (`embedded:///tmp`), which other users would lose access to.

    Raises:
        EmbeddedServerError: it is refused, here or by the system.
    """
    try:
        # Before anything is made on the way; what is missing there will be ours.
        fault = next(_faults_of_parents(folder), None)
        if fault is not None:
            raise EmbeddedServerError(f"cannot start {url}: {fault}")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(folder, _OPEN_FOLDER)
    except (FileExistsError, NotADirectoryError):
        what = "a symlink; give the folder itself" if folder.is_symlink() else "not a folder"
        raise EmbeddedServerError(f"cannot start {url}: {folder} is {what}") from None
    except OSError as error:
        raise EmbeddedServerError(f"cannot start {url}: {error}") from error
    try:
        _make_private(url, fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _faults_of_parents(folder: Path) -> Iterator[str]:
    """The ways in which others could put another folder into the place of this one.

    Both paths count: as it was given, whose links may be replaced, and as they lead.
    """
    parents = {*folder.parents, *folder.resolve().parents}
    for parent in sorted(each for each in parents if each.is_symlink() or each.exists()):
        found = parent.lstat()
        if found.st_uid not in (0, os.geteuid()):
            yield f"{parent}, on the way to its folder, belongs to user {found.st_uid}"
        is_shared = stat.S_ISDIR(found.st_mode) and found.st_mode & _OTHERS_WRITE
        if is_shared and not found.st_mode & stat.S_ISVTX:
            yield f"others may replace folders in {parent}, on the way to its folder"


def _make_private(url: str, fd: int) -> None:
    status = os.fstat(fd)
    if status.st_uid != os.geteuid():
        raise EmbeddedServerError(
            f"cannot start {url}: the folder belongs to user {status.st_uid}, "
            f"this process is user {os.geteuid()}"
        )
    names = set(os.listdir(fd))
    if not names <= _HARMLESS and not names & _OURS:
        raise EmbeddedServerError(
            f"cannot start {url}: the folder holds other files ({min(names - _HARMLESS)}, ...); "
            "the server needs one of its own"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        os.fchmod(fd, 0o700)
    # Checked after access is restricted, so that nothing can be added later: while the folder was
    # open, others may have placed files there that the server would follow or read.
    fault = _first_fault(fd, names - _HARMLESS)
    if fault is not None:
        raise EmbeddedServerError(
            f"cannot start {url}: {fault}; remove it if it is not yours, or give another folder"
        )


def _fault_of(name: str, parent: int) -> str | None:
    """The reason not to trust a name in an open folder, or anything below it; None: there is none.

    Everything is asked of one descriptor, which nobody can replace by something else meanwhile.
    """
    try:
        there = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None  # a server that still ends here has removed it
    mode = there.st_mode
    fault = None
    if stat.S_ISLNK(mode) or there.st_uid != os.geteuid():
        fault = "is a symlink or another user's"
    elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode) and not stat.S_ISSOCK(mode):
        fault = "is neither a file nor a folder"
    elif mode & _OTHERS_WRITE and not stat.S_ISSOCK(mode):
        fault = f"could be written by others (mode {stat.S_IMODE(mode):o})"
    elif stat.S_ISREG(mode) and there.st_nlink > 1:
        fault = "has a second name elsewhere"
    if fault is not None:
        return f"{name} in its folder {fault}"
    return _fault_inside(name, parent) if stat.S_ISDIR(mode) else None


def _fault_inside(name: str, parent: int) -> str | None:
    inside = os.open(name, _OPEN_FOLDER, dir_fd=parent)
    try:
        fault = _first_fault(inside, os.listdir(inside))  # noqa: PTH208 - of a descriptor
    finally:
        os.close(inside)
    return None if fault is None else f"{name}/{fault}"


def _first_fault(fd: int, names: Iterable[str]) -> str | None:
    faults = (_fault_of(name, fd) for name in sorted(names))
    return next((fault for fault in faults if fault is not None), None)
