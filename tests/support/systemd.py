"""A real systemd for one test: a user's service manager, in namespaces and a cgroup of its own.

Nothing of the machine is touched but one new cgroup below our own, which is removed at the end.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from uuid import uuid4

import psutil

MANAGER = Path("/lib/systemd/systemd")
#: The first version that knows Type=notify-reload.
NOTIFY_RELOAD = 253
PATIENCE_SECONDS = 60.0
#: A user's manager starts only where the system has booted with systemd, as it seems to in here.
_START = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system &&
umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup || exit 77
"$0" --user --unit=default.target & wait
"""


def version() -> int | None:
    """The version of the systemd that is installed here, if one is."""
    program = shutil.which("systemd-analyze")
    if program is None:
        return None
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.match(r"systemd (\d+)", printed.stdout)
    return None if found is None else int(found[1])


class NoSystemd(Exception):
    """No manager can run on this machine, or for this user; the message says why."""


class UserManager:
    """A manager that runs in `folder`, whose path must be short: sockets are made below it.

    Raises:
        NoSystemd: on entering it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.units = folder / "units"
        self._runtime = folder / "run"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(self._runtime),
            "SYSTEMD_UNIT_PATH": str(self.units),
            "SYSTEMD_PAGER": "",
        }

    def __enter__(self) -> Self:
        self.units.mkdir()
        self._runtime.mkdir(mode=0o700)
        (self.units / "default.target").write_text("[Unit]\nDescription=nothing\n")
        with contextlib.ExitStack() as stack:
            cgroup = stack.enter_context(_own_cgroup())
            self._process = stack.enter_context(self._started(cgroup))
            self._wait_until_it_listens()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def _started(self, cgroup: Path) -> Iterator[subprocess.Popen[bytes]]:
        join = f'echo $$ > "{cgroup}/cgroup.procs" && exec "$0" "$@"'
        apart = ("unshare", "--cgroup", "--mount", "--pid", "--fork", "--kill-child")
        inner = ("--mount-proc", "sh", "-c", _START, str(MANAGER))
        with subprocess.Popen(
            ["sh", "-c", join, *apart, *inner],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield process
            finally:
                family = psutil.Process(process.pid).children(recursive=True)
                process.send_signal(signal.SIGKILL)
                process.wait(PATIENCE_SECONDS)
                psutil.wait_procs(family, PATIENCE_SECONDS)

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (self._runtime / "systemd" / "private").is_socket():
            if self._process.poll() is not None:
                raise NoSystemd(f"systemd does not start here: exit {self._process.returncode}")
            if time.monotonic() > deadline:
                raise NoSystemd(f"systemd was not there within {PATIENCE_SECONDS:g} s")
            time.sleep(0.05)

    def _inside(self) -> int:
        """A pid in its namespaces: that of the shell that waits for it."""
        (shell,) = psutil.Process(self._process.pid).children()
        return shell.pid

    def systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `systemctl --user` in its namespaces."""
        enter = ("nsenter", "-t", str(self._inside()), "-m", "-p", "-C")
        return subprocess.run(
            [*enter, "systemctl", "--user", "--no-pager", *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", unit, "--value", "-p", name).stdout.strip()

    def wait_for(self, unit: str, name: str, value: str) -> None:
        """Poll until the property has this value, since its changes are no events."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := self.show(unit, name)) != value:
            assert time.monotonic() < deadline, f"{name} is {found!r}, never {value!r}"
            time.sleep(0.05)

    def named(self, program: str) -> list[psutil.Process]:
        """Every process of its services that has this word in its command line."""
        family = psutil.Process(self._process.pid).children(recursive=True)
        return [each for each in family if program in each.cmdline()]


@contextlib.contextmanager
def _own_cgroup() -> Iterator[Path]:
    """A new cgroup below ours; it is empty when the block ends."""
    for program in ("unshare", "nsenter", "systemctl"):
        if shutil.which(program) is None:
            raise NoSystemd(f"there is no {program} here")
    if not MANAGER.exists():
        raise NoSystemd(f"there is no {MANAGER} here")
    path = _cgroup2() / f"docket-test-{uuid4().hex[:8]}"
    try:
        path.mkdir()
    except OSError as error:
        raise NoSystemd(f"no cgroup may be made here: {error}") from error
    try:
        yield path
    finally:
        below = sorted(path.rglob("*"), key=lambda each: len(each.parts), reverse=True)
        for each in (*(found for found in below if found.is_dir()), path):
            each.rmdir()


def _cgroup2() -> Path:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    roots = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]
    ours = [
        line.removeprefix("0::/")
        for line in Path("/proc/self/cgroup").read_text().splitlines()
        if line.startswith("0::/")
    ]
    if not roots or not ours:
        raise NoSystemd("there are no cgroups of version 2 here")
    return roots[0] / ours[0]
