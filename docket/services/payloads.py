"""The encoding of the values that outcomes carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docket.store.claims import Claim

if TYPE_CHECKING:
    from docket.docket import Docket


class Payloads:
    """Encode values with the docket's serializer.

    Args:
        docket: the docket of the tasks.
    """

    def __init__(self, docket: Docket) -> None:
        self._docket = docket
        self._serializer = docket.serializer

    def result(self, claim: Claim, value: object) -> bytes:
        """Encode the return value of a task; not called for None, which is stored as nothing.

        Raises:
            PayloadTooLarge: it is over the limit.
            UnfitValue: it does not fit the task's return annotation.
            Exception: pickle's, for a value that it cannot store.
        """
        function = self._docket.function_of(claim.function.decode())
        return self._serializer.encode_result(function, value) or b""

    def error(self, error: BaseException) -> bytes:
        """Encode the exception that a task failed with; never fails."""
        return self._serializer.encode_error(error)

    def call(self, claim: Claim, args: tuple[object, ...], kwargs: dict[str, object]) -> bytes:
        """Encode new arguments of a task; raises as `result`."""
        function = self._docket.function_of(claim.function.decode())
        return self._serializer.encode_call(function, args, kwargs)
