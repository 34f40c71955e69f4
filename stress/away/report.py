"""What an outage came to, for a person and for a program."""

from typing import Any

from stress.away import figures
from stress.away.run import Result, violations

#: Lines of the log shown.
MOST_SHOWN = 12


def as_json(result: Result) -> dict[str, Any]:
    """Everything that the report says, as plain values; times in seconds."""
    outage, runs = result.outage, result.runs
    rate = figures.rate_before(runs, outage.began)
    firsts = sorted(figures.first_finishes(runs, result.workers, outage.ended).values())
    bins = figures.accepted_after(result.accepted, outage.ended)
    readyz = figures.answers_within(result.answers, "/readyz", outage.began, float("inf"))
    away = [each for each in readyz if each.code == 503]
    # A line a task is no noise of the outage.
    about_it = [line for line in result.log if "↩" not in line and "↪" not in line]
    return {
        "way": str(result.settings.way),
        "outage_seconds": round(outage.seconds, 2),
        "workers": result.settings.processes,
        "tasks": len(result.ends),
        "rate_before": round(rate),
        "first_task_of_each_worker": [round(each, 2) for each in firsts],
        "full_rate_after": round(figures.seconds_to_full_rate(runs, rate, outage.ended), 2),
        "connections_in_each_tenth": bins,
        "most_connections_in_a_tenth": max(bins),
        "attempts_a_second_while_away": round(
            figures.attempts_a_second(result.accepted, outage), 1
        ),
        "readyz_503_after": round(away[0].at - outage.began, 2) if away else None,
        "readyz_reasons": sorted({each.body for each in away}),
        "readyz_200_after_return": _ready_again(away, readyz, outage),
        "log_lines": len(about_it),
        "log": about_it[:MOST_SHOWN],
        "statuses": [text for at, text in result.statuses if outage.began <= at < outage.ended],
        "violations": violations(result),
    }


def _ready_again(
    away: list[figures.Answer], readyz: list[figures.Answer], outage: figures.Outage
) -> float | None:
    last = away[-1].at if away else outage.began
    after = [each.at for each in readyz if each.code == 200 and each.at > last]
    return round(max(0.0, after[0] - outage.ended), 2) if after else None


def as_text(result: Result) -> str:
    """The same for a person."""
    told = as_json(result)
    lists = ("log", "statuses", "violations")
    lines = [f"{name.replace('_', ' ')}: {told[name]}" for name in told if name not in lists]
    for name in lists:
        lines += [f"{name}:", *(f"  {each}" for each in told[name])]
    return "\n".join(lines)
