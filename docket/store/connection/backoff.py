"""The wait between two attempts at a server that is away."""

import random

#: Longest wait between two connection attempts, in seconds: work resumes within two seconds of the
#: server's return, of which one is for the steps after connecting.
BACKOFF_CAP_SECONDS = 1.0
#: Upper bound of the first wait, in seconds; it doubles with each failure.
BACKOFF_BASE_SECONDS = 0.05


def backoff_seconds(failures: int) -> float:
    """Return the wait before the next attempt: exponential, jittered.

    It is drawn between a quarter and the whole of a bound that doubles: so the workers of a pool
    do not return all at once.

    Args:
        failures: the number of failures in a row, 1 or more.
    """
    ceiling = min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2 ** min(failures - 1, 10))
    return random.uniform(ceiling / 4, ceiling)
