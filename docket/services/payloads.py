"""What outcomes carry, as their docket stores it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docket.store.transitions import Claim

if TYPE_CHECKING:
    from docket.docket import Docket


class Payloads:
    """Encodes with the docket's serializer.

    Args:
        docket: whose tasks.
    """

    def __init__(self, docket: Docket) -> None:
        self._docket = docket
        self._serializer = docket.serializer

    def result(self, claim: Claim, value: object) -> bytes:
        """What a task returned; for None, which is stored as nothing, it is not asked.

        Raises:
            PayloadTooLarge: it is over the limit.
            UnfitValue: it is not what the task says it returns.
            Exception: what pickle raises for a value that it cannot store.
        """
        function = self._docket.function_of(claim.function.decode())
        return self._serializer.encode_result(function, value) or b""

    def error(self, error: BaseException) -> bytes:
        """The exception that a task failed with; never fails."""
        return self._serializer.encode_error(error)

    def call(self, claim: Claim, args: tuple[object, ...], kwargs: dict[str, object]) -> bytes:
        """New arguments of a task; raises as `result`."""
        function = self._docket.function_of(claim.function.decode())
        return self._serializer.encode_call(function, args, kwargs)
