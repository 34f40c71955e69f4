"""The input of the demo: every Python file under a folder."""

import os
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from supervisor.errors import ConfigurationError
from supervisor.text.truncation import encodable

#: Packages that were installed beside the standard library, and are no part of it.
INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to parse. Its key is the path below the root, in text that any server can keep."""

    key: str
    path: str


@dataclass(frozen=True, slots=True)
class SourceTree:
    """The files under `root`, and the folders that cannot be read."""

    root: str
    files: tuple[SourceFile, ...]
    unreadable: tuple[str, ...] = ()


def find(path: Path | None) -> SourceTree:
    """Find every regular file that ends in .py under `path`, in the order of their names.

    Links to folders are not followed: a file would be found twice.

    Arguments:
        path: a folder, or one file; None: the standard library of the running Python.

    Raises:
        ConfigurationError: there is no such path, or no Python file under it.
    """
    root = Path(sysconfig.get_path("stdlib")) if path is None else path
    shown = encodable(str(root))
    if not _allowed(root.exists):
        raise ConfigurationError(f"demo: there is no {shown}: nothing to parse")
    unreadable: list[str] = []
    left_out = INSTALLED if path is None else frozenset[str]()
    is_folder = root.is_dir()
    base = root if is_folder else root.parent
    files = tuple(
        SourceFile(encodable(str(each.relative_to(base))), str(each.absolute()))
        for each in (_walk(root, left_out, unreadable) if is_folder else [root])
        # A pipe named like a module would keep its reader waiting for ever.
        if each.suffix == ".py" and _allowed(each.is_file)
    )
    if not files:
        because = f" ({unreadable[0]} cannot be read)" if unreadable else ""
        raise ConfigurationError(
            f"demo: no .py file under {shown}{because}: give a folder that holds some"
        )
    return SourceTree(shown, files, tuple(unreadable))


def _walk(root: Path, left_out: frozenset[str], unreadable: list[str]) -> Iterator[Path]:
    def cannot_be_read(error: OSError) -> None:
        unreadable.append(encodable(str(error.filename)))

    for folder, folders, names in os.walk(root, onerror=cannot_be_read):
        folders[:] = sorted(set(folders) - left_out)
        yield from (Path(folder, name) for name in sorted(names))


def _allowed(check: Callable[[], bool]) -> bool:
    """The result of `check`; False in a folder whose files may not even be looked at."""
    try:
        return check()
    except OSError:
        return False
