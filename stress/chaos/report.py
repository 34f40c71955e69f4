"""The report of a run, as text and as JSON."""

from collections import Counter
from collections.abc import Iterable
from statistics import median
from typing import Any

from stress.chaos.checker import Redelivery
from stress.chaos.fleet import describe_clocks
from stress.chaos.run import Outcome, describe_ends
from stress.report import verdict_lines

#: Violations printed; the rest are counted.
MOST_SHOWN = 30


def has_passed(outcome: Outcome) -> bool:
    """Return True if something was put to the test, and every promise was kept."""
    return not outcome.verdict.violations and shows_nothing(outcome) is None


def shows_nothing(outcome: Outcome) -> str | None:
    """Explain why a run without violations proves nothing; None if it proves something."""
    if not outcome.accepted:
        return "no task was accepted: the run shows nothing"
    if all(each.skipped is not None for each in outcome.injected):
        return "no fault was carried out: the run shows nothing"
    return None


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The whole report, as plain values."""
    verdict, injected = outcome.verdict, outcome.injected
    skipped = Counter(str(each.kind) for each in injected if each.skipped is not None)
    away = [each for each in verdict.redeliveries if each.was_away]
    return {
        "seed": outcome.settings.seed,
        "minutes": round(outcome.settings.seconds / 60, 2),
        "topology": str(outcome.settings.topology),
        "hosts": outcome.settings.hosts,
        "processes": outcome.settings.processes,
        "clocks_off_seconds": None if outcome.clocks is None else list(outcome.clocks),
        "faults": dict(Counter(str(each.kind) for each in injected if each.skipped is None)),
        "skipped": skipped.total(),
        "skipped_by_kind": dict(skipped),
        "accepted": len(outcome.accepted),
        "accepted_by_kind": dict(Counter(outcome.accepted.values())),
        "not_ended": outcome.not_ended,
        "runs": verdict.runs,
        "pauses": verdict.pauses,
        "retries": verdict.retries,
        "duplicates": dict(Counter(str(each.cause) for each in verdict.duplicates)),
        "redelivery_seconds": _delays(verdict.redeliveries),
        "redelivery_seconds_while_the_server_was_away": _delays(away),
        "failovers": len(outcome.rollbacks),
        "seconds_of_doubt": round(sum(each.until - each.since for each in outcome.rollbacks), 1),
        "lost_in_failovers": len(verdict.lost),
        "settled_seconds": round(outcome.settled_seconds, 1),
        "status_samples": outcome.samples,
        "descriptors_gained": outcome.descriptors_gained,
        "violations": verdict.violations,
        "shows_nothing": shows_nothing(outcome),
    }


def _delays(redeliveries: Iterable[Redelivery]) -> dict[str, Any]:
    delays = sorted(each.seconds for each in redeliveries)
    return {
        "count": len(delays),
        "median": round(median(delays), 3) if delays else None,
        "worst": round(delays[-1], 3) if delays else None,
    }


def as_text(outcome: Outcome) -> str:
    """The report as text."""
    told = as_json(outcome)
    lines = [
        f"seed {told['seed']}: {told['minutes']} minutes of faults",
        f"hosts: {told['hosts']}, of {told['processes']} workers each",
        describe_clocks(outcome.clocks),
        describe_ends(told["accepted"], told["not_ended"], outcome.settled_seconds),
        f"{told['runs']} runs, {told['pauses']} pauses, {told['retries']} retries of failures",
        "",
        *_counted("faults and acts of operators:", told["faults"], "no fault"),
        *_counted(
            "skipped, because the host had another one:", told["skipped_by_kind"], "none skipped"
        ),
        "",
        *_counted("ran again:", told["duplicates"], "nothing ran again"),
        "",
        *_redeliveries(outcome.verdict.redeliveries),
        *(_failovers(told) if outcome.rollbacks else ()),
        f"descriptors gained by a supervisor: {told['descriptors_gained']}",
        "",
        *_verdict(outcome),
    ]
    return "\n".join(lines)


def _counted(title: str, counts: dict[str, int], none: str) -> list[str]:
    if not counts:
        return [none]
    return [title, *(f"{count:6}  {name}" for name, count in sorted(counts.items()))]


def _redeliveries(found: list[Redelivery]) -> list[str]:
    if not found:
        return ["no run died with its process and was started again"]
    parts = {
        "the server answered all the while": [each for each in found if not each.was_away],
        "the server was away meanwhile": [each for each in found if each.was_away],
    }
    return [
        "from the death of a run with its process to its next start:",
        *(f"  {name}: {_spread(part)}" for name, part in parts.items() if part),
    ]


def _spread(part: list[Redelivery]) -> str:
    told = _delays(part)
    times = "once" if told["count"] == 1 else f"{told['count']} times"
    return f"{times}, median {told['median']:.1f} s, worst {told['worst']:.1f} s"


def _failovers(told: dict[str, Any]) -> list[str]:
    lost, seconds = told["lost_in_failovers"], told["seconds_of_doubt"]
    return [
        f"{told['failovers']} failovers",
        f"{lost} accepted tasks were lost in them, in {seconds} s whose writes may be",
    ]


def _verdict(outcome: Outcome) -> list[str]:
    violations = outcome.verdict.violations
    silence = None if violations else shows_nothing(outcome)
    return verdict_lines(violations, MOST_SHOWN) if silence is None else [silence]
