"""How many examples a property is tried with, and how long the sequences of a machine are.

HYPOTHESIS_PROFILE says. Unset: enough to find what breaks a property often, for every run of the
tests. `full`: twice as many, and four times for machines, in `tox -m full`. `long`: thousands, with
longer sequences, for as long as one lets it. What fails is kept in .hypothesis and tried first next
time.
"""

import os

from hypothesis import HealthCheck, settings

_PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
assert _PROFILE in {"default", "full", "long"}, _PROFILE


def examples(full: int) -> int:
    """Take half of the examples that `tox -m full` tries, unless a profile asks for all."""
    return full // 2 if _PROFILE == "default" else full


def machine_settings() -> settings:
    """Make the settings of a machine for the chosen profile."""
    long = _PROFILE == "long"
    return settings(
        max_examples=5000 if long else 100 if _PROFILE == "full" else 25,
        stateful_step_count=80 if long else 40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
