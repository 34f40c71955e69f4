"""The file of those who may use a dashboard: a line `NAME:HASH` each."""

import logging
import os
import stat
from pathlib import Path

logger = logging.getLogger("docket.web")

#: The most bytes of it.
_MOST_BYTES = 1_000_000
#: Without blocking: the opening of a FIFO would wait for a writer. Links are followed: Kubernetes
#: mounts a secret as one. Windows knows none of these.
_SAFELY = os.O_RDONLY | sum(
    getattr(os, f"O_{name}", 0) for name in ("CLOEXEC", "NONBLOCK", "NOCTTY")
)


def read_users(path: Path) -> dict[str, str]:
    """Read the hash of each user's password, by name; lines with # are left out.

    Raises:
        ValueError: it cannot be read, or anybody on the machine could add a user.
    """
    try:
        text = _contents(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The file of users {str(path)!r} cannot be read: {error}") from error
    rows = [line.strip().partition(":") for line in text.splitlines() if line.strip()]
    return {name: kept for name, _, kept in rows if not name.startswith("#")}


def _contents(path: Path) -> bytes:
    with os.fdopen(os.open(path, _SAFELY), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"The file of users {str(path)!r} is no regular file")
        if status.st_mode & stat.S_IWOTH:
            raise ValueError(
                f"Anybody on this machine could add a user to {str(path)!r}: chmod o-rw it"
            )
        if status.st_mode & stat.S_IROTH:
            logger.warning(
                "Anybody on this machine can read the hashes in %r, and guess passwords by them: "
                "chmod o-r it",
                str(path),
            )
        found = file.read(_MOST_BYTES + 1)
    if len(found) > _MOST_BYTES:
        raise ValueError(f"The file of users {str(path)!r} has more than {_MOST_BYTES} bytes")
    return found
