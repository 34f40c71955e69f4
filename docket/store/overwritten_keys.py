"""Keys of a docket that were overwritten with a value of another type."""

import logging
from collections.abc import Sequence

logger = logging.getLogger("docket.store")


def log_overwritten(found: Sequence[bytes]) -> None:
    """Log the overwritten keys that a script found and skipped.

    Args:
        found: the name and type of each, flat, as _records.lua collects them.
    """
    for name, kind in zip(found[::2], found[1::2], strict=True):
        logger.error(
            "%s was overwritten by somebody with a %s: what the docket had there is lost and left "
            "out, all else goes on. Remove that key to use its name again",
            name.decode(errors="replace"),
            kind.decode(),
        )
