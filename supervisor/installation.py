"""A check that the program can run as it is installed. It comes first, so it imports little."""

import importlib.util

#: Modules of Python that only POSIX systems have.
POSIX_MODULES = ("fcntl", "pwd", "resource")

#: In `docket/__init__.py` of ours, and not in that of PyPI's pydocket.
OURS = b"docket-supervisor"


def obstacle() -> str | None:
    """Return why the program cannot run, with the remedy; None if it can.

    PyPI's pydocket, installed later, has written its files over those of our package `docket`, and
    uninstalled later it has taken them along. This package is not touched by either.
    """
    missing = [name for name in POSIX_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        return f"needs a POSIX system (Linux, macOS): this Python has no {', '.join(missing)}"
    docket = importlib.util.find_spec("docket")
    if docket is not None and docket.origin:
        # pathlib takes as long to import as everything before the signal handlers.
        with open(docket.origin, "rb") as file:  # noqa: PTH123
            if OURS in file.read():
                return None
    return (
        "its package docket is missing, or overwritten by that of pydocket. Run: python -m pip "
        "uninstall --yes pydocket && python -m pip install --force-reinstall --no-deps "
        "docket-supervisor. If another package requires pydocket, docs/migrating.md tells how to "
        "install it without"
    )
