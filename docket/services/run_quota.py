"""The quota of `Worker.run_at_most`: the runs left to certain keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from docket.lifecycle import Outcome, Perpetuated

if TYPE_CHECKING:
    from docket.execution import Execution


class RunQuota:
    """A count of the runs left to limited keys; all other keys are unlimited.

    Args:
        runs_by_key: the maximum number of runs of each limited key, retries included.
    """

    def __init__(self, runs_by_key: Mapping[str, int]) -> None:
        self._left = dict(runs_by_key)

    def take(self, key: str) -> None:
        """Take one run of this key; if there was none left, that run is stricken."""
        if key in self._left:
            self._left[key] -= 1

    def give_back(self, key: str) -> None:
        """Give back a run that did not begin because a limit did not admit it."""
        if key in self._left:
            self._left[key] += 1

    def is_used_up(self, execution: Execution) -> bool:
        """Return whether an execution is over the quota: a condition of the strike list."""
        left = self._left.get(execution.key)
        if left is None:
            return False
        # A claimed run has taken its share already.
        return left < 0 if execution.is_active_run else left <= 0

    def allows_another(self, key: str) -> bool:
        """Return whether this key may be run once more."""
        return self._left.get(key, 1) > 0

    def bound(self, key: str, outcome: Outcome) -> Outcome:
        """Return the outcome of a run, without a successor that would exceed the quota."""
        if isinstance(outcome, Perpetuated) and not self.allows_another(key):
            return outcome.ended
        return outcome
