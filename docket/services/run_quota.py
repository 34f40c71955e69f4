"""The allowance of `Worker.run_at_most`: how many runs certain keys still have."""

from __future__ import annotations

from collections.abc import Mapping

from docket.lifecycle import Cancelled, Failed, Outcome, Perpetuated, Retried


class RunQuota:
    """Counts the runs of keys that are limited; all others are free.

    Args:
        runs_by_key: the most runs of each limited key, attempts of retries included.
    """

    def __init__(self, runs_by_key: Mapping[str, int]) -> None:
        self._left = dict(runs_by_key)

    def take(self, key: str) -> bool:
        """Whether a run of this key may begin; if so, it counts."""
        left = self._left.get(key)
        if left is None:
            return True
        self._left[key] = left - 1
        return left > 0

    def give_back(self, key: str) -> None:
        """A run that was to begin did not: its limits withheld it."""
        if key in self._left:
            self._left[key] += 1

    def bound(self, key: str, outcome: Outcome) -> Outcome:
        """The outcome of a run: one that would lead to a run too many ends here instead."""
        if self._left.get(key, 1) > 0:
            return outcome
        match outcome:
            case Perpetuated(ended):
                return ended
            case Retried(error=error):
                return Cancelled() if error is None else Failed(error)
            case _:
                return outcome
