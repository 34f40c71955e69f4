"""The original beside ours: PyPI's pydocket writes files of the same names into the same folder."""

import os
import warnings
from collections.abc import Iterable

#: The local part of the version of `compat/pydocket`, the distribution that stands in for pydocket.
STAND_IN = "+docket.supervisor"


def warn_of_the_original(package: Iterable[str]) -> None:
    """Warn if pydocket itself is installed where this package is.

    Looks for the name of its metadata: to import importlib.metadata takes far longer than this.

    Args:
        package: the folders of this package, its `__path__`.
    """
    for folder in package:
        try:
            names = os.listdir(os.path.dirname(folder))  # noqa: PTH120, PTH208  (pathlib is slower)
        except OSError:  # imported from an archive
            continue
        for name in names:
            if name.startswith("pydocket-") and name.endswith(".dist-info"):
                version = name.removeprefix("pydocket-").removesuffix(".dist-info")
                if not version.endswith(STAND_IN):
                    _warn(version)


def installed_version(package: str | None = None) -> str | None:
    """Return the version that is installed where this package is; None in a source tree.

    By the name of its metadata too: a forked worker that read the metadata itself would no longer
    share the modules for it with the nursery.

    Args:
        package: the folder of this package; by default the one that this file is in.
    """
    package = package or os.path.dirname(__file__)  # noqa: PTH120
    try:
        names = os.listdir(os.path.dirname(package))  # noqa: PTH120, PTH208
    except OSError:  # imported from an archive
        return None
    for name in names:
        if name.startswith("docket_supervisor-") and name.endswith(".dist-info"):
            return name.removeprefix("docket_supervisor-").removesuffix(".dist-info")
    return None


def _warn(version: str) -> None:
    warnings.warn(
        f"pydocket {version} is installed in the same place as docket-supervisor. Both have a "
        "package docket: the one installed last is what runs, and uninstalling either breaks the "
        "other. Run: python -m pip uninstall --yes pydocket && python -m pip install "
        "--force-reinstall --no-deps docket-supervisor. If another package requires pydocket, "
        "docs/migrating.md tells how to install it without",
        RuntimeWarning,
        stacklevel=4,
    )
