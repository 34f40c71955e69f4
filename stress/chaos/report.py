"""What a run came to, for a person and for a program."""

from collections import Counter
from statistics import median
from typing import Any

from stress.chaos.run import Outcome

#: Violations printed; the rest are counted.
MOST_SHOWN = 30


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Everything that the report says, as plain values."""
    verdict, broken = outcome.verdict, outcome.broken
    delays = sorted(verdict.redelivery_seconds)
    return {
        "seed": outcome.settings.seed,
        "minutes": round(outcome.settings.seconds / 60, 2),
        "topology": str(outcome.settings.topology),
        "hosts": outcome.settings.hosts,
        "processes": outcome.settings.processes,
        "faults": dict(Counter(str(each.kind) for each in broken if each.skipped is None)),
        "skipped": sum(each.skipped is not None for each in broken),
        "accepted": len(outcome.accepted),
        "accepted_by_kind": dict(Counter(outcome.accepted.values())),
        "runs": verdict.runs,
        "duplicates": dict(Counter(str(each.cause) for each in verdict.duplicates)),
        "redelivery_seconds": {
            "count": len(delays),
            "median": round(median(delays), 3) if delays else None,
            "worst": round(delays[-1], 3) if delays else None,
        },
        "failovers": len(outcome.rollbacks),
        "seconds_of_doubt": round(sum(each.until - each.since for each in outcome.rollbacks), 1),
        "lost_in_failovers": len(verdict.lost),
        "settled_seconds": round(outcome.settled_seconds, 1),
        "status_samples": outcome.samples,
        "descriptors_gained": outcome.descriptors_gained,
        "violations": verdict.violations,
    }


def as_text(outcome: Outcome) -> str:
    """The same for a person."""
    told = as_json(outcome)
    lines = [
        f"seed {told['seed']}: {told['minutes']} minutes, {told['hosts']} x {told['processes']}",
        f"accepted {told['accepted']}, runs {told['runs']}, settled in {told['settled_seconds']} s",
        "",
        *(f"{count:6}  {kind}" for kind, count in sorted(told["faults"].items())),
        f"{told['skipped']:6}  skipped: the host was being ended or frozen",
        "",
        "run again:",
        *(f"{count:6}  {cause}" for cause, count in sorted(told["duplicates"].items())),
        "",
        f"from a death to the next start: {told['redelivery_seconds']}",
        *(_failovers(told) if outcome.rollbacks else ()),
        f"descriptors gained by a supervisor: {told['descriptors_gained']}",
        "",
        f"{len(told['violations'])} promises were broken",
        *(f"  {violation}" for violation in told["violations"][:MOST_SHOWN]),
    ]
    return "\n".join(lines)


def _failovers(told: dict[str, Any]) -> list[str]:
    lost, seconds = told["lost_in_failovers"], told["seconds_of_doubt"]
    return [
        f"{told['failovers']} failovers",
        f"{lost} accepted tasks were lost in them, in {seconds} s whose writes may be",
    ]
