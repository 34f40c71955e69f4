"""The event loop that owns the connections of a process: every call must come from it.

A call from another loop, which runs in another thread, would write between the calls of the owner,
take the replies of others, or wait for ever for a wake-up that only the owner could give.
"""

import asyncio

from docket.errors import WrongEventLoop


class LoopOwner:
    """The running loop at its making.

    Args:
        display_url: the server that the connections lead to, for messages.
    """

    __slots__ = ("_display_url", "loop")

    def __init__(self, display_url: str) -> None:
        self.loop = asyncio.get_running_loop()
        self._display_url = display_url

    def check(self) -> None:
        """Refuse a call from another loop.

        Raises:
            WrongEventLoop: the running loop is not the owner; nothing was done.
        """
        if asyncio.get_running_loop() is not self.loop:
            raise self.refusal()

    def refusal(self) -> WrongEventLoop:
        """Return the error for a call from another loop."""
        state = "has ended" if self.loop.is_closed() else "is another one"
        return WrongEventLoop(
            f"The connections to {self._display_url} belong to the event loop in which the docket "
            f"was opened, and that {state}: nothing was done. From a thread without a loop use "
            "docket.sync(), or asyncio.run_coroutine_threadsafe(call, loop); another loop opens "
            "a Docket of its own"
        )
