"""The environments of the peers: made once, in a cache, each with its own pinned requirements."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stress.bench.peers.catalogue import Peer
from stress.program import ROOT

ADAPTERS = Path(__file__).parent / "adapters"

#: For the installation of one peer.
INSTALL_SECONDS = 300.0
_PROBE_SECONDS = 20.0
#: Interpreters that are looked for where ours is too old for a peer.
_NEWER = ("python3.14", "python3.13", "python3.12")
_VERSION = "import sys; print(*sys.version_info[:2])"
#: Written last: without it an environment is not complete.
_STAMP = "requirements.json"


class NotInstalled(Exception):
    """A peer cannot be measured; the message says why."""


@dataclass(frozen=True)
class AdapterProgram:
    """The program that runs an adapter, and the variables that it needs."""

    words: tuple[str, ...]
    variables: Mapping[str, str]


def cache_folder() -> Path:
    """The folder of the environments unless the command line names another."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "docket-stress-peers"


def environment_of(peer: Peer, cache: Path, interpreters: Sequence[str]) -> AdapterProgram:
    """Provide the environment of a peer, and make it if it is not there.

    Arguments:
        cache: the folder of all environments.
        interpreters: Pythons to try where ours is too old for the peer.

    Raises:
        NotInstalled: there is no interpreter for it, or its installation failed.
    """
    adapter = str(ADAPTERS / peer.adapter)
    if peer.is_ours:
        path = os.pathsep.join((str(ROOT), str(ADAPTERS)))
        return AdapterProgram((sys.executable, adapter), {"PYTHONPATH": path})
    home = cache / f"{peer.name}-{_digest(peer.requirements)}"
    if peer.npm:
        node = _program("node")
        _once(home, peer, lambda: _install_npm(home, peer))
        return AdapterProgram((node, adapter), {"PEER_HOME": str(home)})
    python = str(home / "bin" / "python")
    _once(home, peer, lambda: _install_python(home, peer, interpreters))
    return AdapterProgram((python, adapter), {"PYTHONPATH": str(ADAPTERS)})


def _digest(requirements: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(requirements).encode()).hexdigest()[:8]


def _once(home: Path, peer: Peer, install: Callable[[], None]) -> None:
    stamp = home / _STAMP
    if stamp.is_file():
        return
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    install()
    stamp.write_text(json.dumps(peer.requirements), "utf-8")


def _install_python(home: Path, peer: Peer, interpreters: Sequence[str]) -> None:
    python = find_python(peer.least_python, interpreters)
    _run([python, "-m", "venv", "--without-pip", str(home)])
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python")]
    _run([*pip, "install", "--quiet", "--disable-pip-version-check", *peer.requirements])


def _install_npm(home: Path, peer: Peer) -> None:
    (home / "package.json").write_text('{"private": true}', "utf-8")
    words = ["install", "--no-audit", "--no-fund", "--ignore-scripts", *peer.requirements]
    _run([_program("npm"), "--prefix", str(home), *words], folder=home)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise NotInstalled(f"there is no {name} on the PATH")
    return found


def find_python(least: tuple[int, int], interpreters: Sequence[str]) -> str:
    """Find an interpreter that is new enough: ours, one of those, or one on the PATH.

    Raises:
        NotInstalled: there is none.
    """
    for candidate in (sys.executable, *interpreters, *_NEWER):
        if _version(candidate) >= least:
            return candidate
    wanted = ".".join(map(str, least))
    raise NotInstalled(f"it needs Python {wanted}, and none was found: name one with --python")


def _version(python: str) -> tuple[int, ...]:
    try:
        told = subprocess.run(
            [python, "-c", _VERSION], capture_output=True, timeout=_PROBE_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(map(int, told.stdout.split()))


def _run(words: Sequence[str], folder: Path = ROOT) -> None:
    try:
        subprocess.run(
            words, cwd=folder, capture_output=True, timeout=INSTALL_SECONDS, check=True, text=True
        )
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout).strip().splitlines()
        reason = lines[-1] if lines else f"{words[0]} ended with {error.returncode}"
        raise NotInstalled(reason) from error
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"its installation took over {INSTALL_SECONDS:g} s") from None
