"""The result of an attempt to schedule an execution."""

from enum import Enum


class Disposition(Enum):
    """The result of an attempt to schedule an execution."""

    LOADED = "loaded"
    """It was read from the docket, not scheduled by this call."""
    SCHEDULED = "scheduled"
    """It is on the docket now."""
    ALREADY_SCHEDULED = "already_scheduled"
    """Its key was taken: the execution that was there was kept."""
    STRUCK = "struck"
    """It is stricken and was not scheduled."""
    SUPERSEDED = "superseded"
    """A newer execution of its key exists."""
    FAILED = "failed"
    """It could not be scheduled; `schedule_exception` says why."""


#: Dispositions by their names in the store.
BY_NAME = {
    "scheduled": Disposition.SCHEDULED,
    "already": Disposition.ALREADY_SCHEDULED,
    "superseded": Disposition.SUPERSEDED,
    "cancelled": Disposition.FAILED,
    "error": Disposition.FAILED,
}
