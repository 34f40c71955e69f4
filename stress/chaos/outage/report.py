"""The report of an outage, as text and as JSON."""

from math import isinf
from typing import Any

from stress.chaos.outage import metrics
from stress.chaos.outage.kinds import OutageKind
from stress.chaos.outage.run import OutageResult, violations
from stress.report import verdict_lines

#: Lines of the log shown: of its beginning, and of its end.
MOST_SHOWN = 12
#: The beginnings of a worker's lines about a run: its start, its end, its end with another run.
_ARROWS = frozenset("↪↬↩↫✗")


def as_json(result: OutageResult) -> dict[str, Any]:
    """The whole report, as plain values; times in seconds."""
    outage, runs = result.outage, result.runs
    rate = metrics.rate_before(runs, outage.began)
    firsts = sorted(metrics.first_finishes(runs, result.workers, outage.ended).values())
    bins = metrics.accepted_after(result.accepted, outage.ended)
    readyz = metrics.answers_within(result.answers, "/readyz", outage.began, float("inf"))
    away = [each for each in readyz if each.code == 503]
    # The lines about runs do not come from the outage.
    about_it = [line for line in result.log if not _ARROWS.intersection(line)]
    return {
        "way": str(result.settings.kind),
        "outage_seconds": round(outage.seconds, 2),
        "workers": result.settings.processes,
        "tasks": len(result.ends),
        "rate_before": round(rate),
        "first_task_of_each_worker": [round(each, 2) for each in firsts],
        "full_rate_after": round(metrics.seconds_to_full_rate(runs, rate, outage.ended), 2),
        "connections_in_each_tenth": bins,
        "most_connections_in_a_tenth": max(bins),
        "attempts_a_second_while_away": round(
            metrics.attempts_a_second(result.accepted, outage), 1
        ),
        "readyz_503_after": round(away[0].at - outage.began, 2) if away else None,
        "readyz_reasons": sorted({each.body for each in away}),
        "readyz_200_after_return": _ready_again(away, readyz, outage),
        "log_lines": len(about_it),
        "log": shortened(about_it),
        "statuses": [text for at, text in result.statuses if outage.began <= at < outage.ended],
        "violations": violations(result),
    }


def _ready_again(
    away: list[metrics.Answer], readyz: list[metrics.Answer], outage: metrics.Outage
) -> float | None:
    last = away[-1].at if away else outage.began
    after = [each.at for each in readyz if each.code == 200 and each.at > last]
    return round(max(0.0, after[0] - outage.ended), 2) if after else None


def shortened(lines: list[str]) -> list[str]:
    """Select the first and the last of many lines."""
    left_out = len(lines) - 2 * MOST_SHOWN
    if left_out <= 0:
        return lines
    return [*lines[:MOST_SHOWN], f"... {left_out} more ...", *lines[-MOST_SHOWN:]]


def as_text(result: OutageResult) -> str:
    """The report as text."""
    told = as_json(result)
    firsts = told["first_task_of_each_worker"]
    lines = [
        f"{told['way']}: the server was away for {told['outage_seconds']} s",
        f"  workers: {told['workers']}, tasks: {told['tasks']}",
        f"  rate before: {told['rate_before']} tasks a second",
        "after its return:",
        f"  first task of a worker: {_after(firsts[0])} to {_after(firsts[-1])}",
        f"  full rate: {_after(told['full_rate_after'])}",
        f"  /readyz 200: {_after(told['readyz_200_after_return'])}",
        f"  most connections in 0.1 s: {told['most_connections_in_a_tenth']}",
        "while it was away:",
        f"  attempts to connect: {_attempts(told)}",
        f"  /readyz 503: {_after(told['readyz_503_after'])}",
        f"  its reason: {', '.join(told['readyz_reasons']) or 'none'}",
        f"log, {told['log_lines']} lines:",
        *(f"  {line}" for line in told["log"]),
        "statuses for the service manager:",
        *(f"  {text}" for text in told["statuses"]),
        *verdict_lines(told["violations"]),
    ]
    return "\n".join(lines)


def _attempts(told: dict[str, Any]) -> str:
    if told["way"] == OutageKind.REFUSE:
        return "not counted, the kernel refuses them"
    return f"{told['attempts_a_second_while_away']} a second, of all workers"


def _after(seconds: float | None) -> str:
    return "never" if seconds is None or isinf(seconds) else f"after {seconds:.2f} s"
