"""The recovery of tasks that nobody would ever be given, because somebody changed their keys."""

import logging

from docket.store import scripts
from docket.store.connection.pipeline import Pipeline
from docket.store.keys import Keys, Stream
from docket.store.overwritten_keys import log_overwritten
from docket.store.retention import Retention

logger = logging.getLogger("docket.store")


class Recovery:
    """Deliver the tasks of one docket whose entries are left behind; see recover.lua.

    Args:
        pipeline: the connection.
        keys: those of the docket.
        retention: that of the docket's ended executions.
    """

    def __init__(self, pipeline: Pipeline, keys: Keys, retention: Retention) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._retention = retention.argument

    async def recover(self) -> int:
        """Deliver every task that was left behind in a stream, and return their number.

        Each call looks at a few hundred entries, however many there are.

        Raises:
            NotPermitted: the user lacks `xinfo|stream`, `xinfo|groups` or `xgroup|setid`.
        """
        moved, source, start = 0, 1, b"-"
        while source:
            found, source, start, mended, broken = await self._pipeline.call(
                scripts.RECOVER,
                [*self._keys.places, self._keys.epochs],
                [self._keys.prefix, source, self._retention, start],
            )
            moved += found
            for letter, what in zip(mended[::2], mended[1::2], strict=True):
                logger.error(_MENDED[what], self._keys.of(Stream(letter.decode())))
            log_overwritten(broken)
        return moved


#: By the reply of the script; each with the name of the stream.
_MENDED = {
    b"group": "The group of %s said that it had delivered what is not there yet (an XGROUP SETID "
    "by somebody, or a restored key): it is set back to the end of the stream",
    b"ids": "The ids of %s are used up (an XADD or XSETID by somebody): the docket goes on with an "
    "empty stream, and what waited is delivered from the old one",
}
