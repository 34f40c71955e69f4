"""The executions of a docket as a list: pages, counts, and acts on what was found."""

from docket.listing.acting import APPLIES_TO, LEFT_ALONE, Act, BulkResult
from docket.listing.counts import Counts
from docket.listing.filters import Filter
from docket.listing.limits import LimitInUse, PlaceInLine
from docket.listing.pages import MatchCount, Page
from docket.listing.recurring import RecurringTask
from docket.listing.summaries import (
    Attempt,
    ExecutionDetails,
    ExecutionSummary,
    ListedState,
    Predecessor,
    ReportedProgress,
)

__all__ = [
    "APPLIES_TO",
    "LEFT_ALONE",
    "Act",
    "Attempt",
    "BulkResult",
    "Counts",
    "ExecutionDetails",
    "ExecutionSummary",
    "Filter",
    "LimitInUse",
    "ListedState",
    "MatchCount",
    "Page",
    "PlaceInLine",
    "Predecessor",
    "RecurringTask",
    "ReportedProgress",
]
