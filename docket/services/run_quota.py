"""The quota of `Worker.run_at_most`: the runs left to certain keys."""

from __future__ import annotations

from collections.abc import Mapping

from docket.lifecycle import Cancelled, Failed, Outcome, Perpetuated, Retried


class RunQuota:
    """A count of the runs left to limited keys; all other keys are unlimited.

    Args:
        runs_by_key: the maximum number of runs of each limited key, retries included.
    """

    def __init__(self, runs_by_key: Mapping[str, int]) -> None:
        self._left = dict(runs_by_key)

    def take(self, key: str) -> bool:
        """Take one run of this key and return whether it may begin."""
        left = self._left.get(key)
        if left is None:
            return True
        self._left[key] = left - 1
        return left > 0

    def give_back(self, key: str) -> None:
        """Give back a run that did not begin because a limit did not admit it."""
        if key in self._left:
            self._left[key] += 1

    def bound(self, key: str, outcome: Outcome) -> Outcome:
        """Return the outcome of a run, without a further run if that would exceed the quota."""
        if self._left.get(key, 1) > 0:
            return outcome
        match outcome:
            case Perpetuated(ended):
                return ended
            case Retried(error=error):
                return Cancelled() if error is None else Failed(error)
            case _:
                return outcome
