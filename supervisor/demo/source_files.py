"""The input of the demo: every Python file under a folder."""

import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from supervisor.errors import ConfigurationError

#: Packages that were installed beside the standard library, and are no part of it.
INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
class Source:
    """A file to parse. Its key is the path below the root, in text that any server can keep."""

    key: str
    path: str


@dataclass(frozen=True, slots=True)
class Found:
    """What was found under `root`; folders that cannot be read are told, not counted."""

    root: Path
    sources: tuple[Source, ...]
    unreadable: tuple[str, ...] = ()


def find(path: Path | None) -> Found:
    """Every regular file that ends in .py under `path`, in the order of their names.

    Links to folders are not followed: a file would be found twice.

    Arguments:
        path: a folder, or one file; None: the standard library of the running Python.

    Raises:
        ConfigurationError: there is no such path, or no Python file under it.
    """
    root = standard_library() if path is None else path
    if not _exists(root):
        raise ConfigurationError(f"demo: there is no {shown(root)}: nothing to parse")
    unreadable: list[str] = []
    left_out = INSTALLED if path is None else frozenset[str]()
    sources = tuple(_walk(root, left_out, unreadable)) if root.is_dir() else tuple(_single(root))
    if not sources:
        because = f" ({unreadable[0]} cannot be read)" if unreadable else ""
        raise ConfigurationError(
            f"demo: no .py file under {shown(root)}{because}: give a folder that holds some"
        )
    return Found(root, sources, tuple(unreadable))


def standard_library() -> Path:
    """Where the running Python keeps the sources of its own modules."""
    return Path(sysconfig.get_path("stdlib"))


def shown(path: object) -> str:
    """A path for people and for keys: names that are not UTF-8 have their bytes escaped."""
    return str(path).encode(errors="backslashreplace").decode()


def _walk(root: Path, left_out: frozenset[str], unreadable: list[str]) -> Iterator[Source]:
    def cannot_be_read(error: OSError) -> None:
        unreadable.append(shown(error.filename))

    for folder, folders, files in os.walk(root, onerror=cannot_be_read):
        folders[:] = sorted(set(folders) - left_out)
        for name in sorted(files):
            path = Path(folder, name)
            if path.suffix == ".py" and _is_regular(path):
                yield Source(shown(path.relative_to(root)), str(path.absolute()))


def _single(file: Path) -> Iterator[Source]:
    if file.suffix == ".py" and _is_regular(file):
        yield Source(shown(file.name), str(file.absolute()))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False  # in a folder where even looking is forbidden


def _is_regular(path: Path) -> bool:
    """A pipe named like a module would keep its reader waiting for ever."""
    try:
        return path.is_file()
    except OSError:
        return False
