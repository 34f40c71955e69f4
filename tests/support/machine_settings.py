"""How long the machines look for a sequence that breaks something: HYPOTHESIS_PROFILE says.

Unset: about a hundred examples, for every run of the tests. `long`: thousands, with longer
sequences, for as long as one lets it. What fails is kept in .hypothesis and tried first next time.
"""

import os

from hypothesis import HealthCheck, settings

_PROFILES = {
    "default": settings(
        max_examples=100,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    ),
    "long": settings(
        max_examples=5000,
        stateful_step_count=80,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    ),
}


def machine_settings() -> settings:
    """The settings of the chosen profile. KeyError: there is no such profile."""
    return _PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "default")]
