"""`python -m stress.bench regression`: ratios to the floor beside recorded ones.

Each side counts with its best round, since a crowded machine only makes a round worse: the ratio of
the best rounds varies less than the median of ratios. What falls short is measured once more, and
fails only if all rounds together fall short.
"""

import asyncio
import datetime
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from stress.bench.metering import Spent, both
from stress.command import Settings
from stress.report import Figure, Limit, Report, machine, publish
from stress.server import server

RECORDED = Path(__file__).parent / "recorded.json"

#: Of a recorded ratio, at least so much: rates vary more than CPU does.
KEPT_OF_RATE = 0.6
KEPT_OF_CPU = 0.7

_SIZE = Settings(rounds=5, count=4_000, concurrencies=(10, 100))

#: The rounds of floor and library, by concurrency.
Rounds = Mapping[int, Sequence[tuple[Spent, Spent]]]
Measure = Callable[[str, Settings], Awaitable[Rounds]]


class NothingRecorded(click.ClickException):
    """A ratio has no recorded one to be compared with."""


@dataclass(frozen=True)
class RegressionOrder:
    """The order of the command line.

    Arguments:
        url: a running server; None starts an embedded one.
        settings: rounds, tasks of a round, and concurrencies.
        record: write the ratios down, instead of judging them.
        recorded: the file with the recorded ratios.
        as_json: print a record instead of the table.
    """

    url: str | None
    settings: Settings
    record: bool
    recorded: Path
    as_json: bool


async def rounds_of(url: str, settings: Settings) -> Rounds:
    """Measure the rounds, each of all concurrencies, floor and library in turns."""
    found: dict[int, list[tuple[Spent, Spent]]] = {each: [] for each in settings.concurrencies}
    for _ in range(settings.rounds):
        for concurrency, rounds in found.items():
            rounds.append(await both(url, settings.count, concurrency))
    return found


def ratios_of(found: Rounds) -> dict[str, float]:
    """Compare the best rounds of both sides: above 1 the library is better than the floor."""
    floors: dict[str, list[float]] = {}
    ours: dict[str, list[float]] = {}
    for concurrency, rounds in found.items():
        for pair in rounds:
            for side, spent in zip((floors, ours), pair, strict=True):
                for work, what, value in _flat(spent):
                    at = f"{work}, concurrency {concurrency}" if work == "run" else work
                    side.setdefault(f"{at}: {what}", []).append(value)
    return {
        name: max(ours[name]) / max(floors[name])
        if name.endswith("rate")
        else min(floors[name]) / min(ours[name])
        for name in ours
    }


def _flat(spent: Spent) -> list[tuple[str, str, float]]:
    return [(work, what, value) for work, all_ in spent.items() for what, value in all_.items()]


def judged(ratios: Mapping[str, float], recorded: Mapping[str, float]) -> list[Figure]:
    """Make figures whose limit is a part of the recorded ratio.

    Raises:
        NothingRecorded: the names are not the same.
    """
    if odd := sorted(ratios.keys() ^ recorded.keys()):
        raise NothingRecorded(
            f"measured or recorded, not both: {', '.join(odd)}. "
            "Nothing was judged; --record writes all ratios down anew"
        )
    return [
        Figure(name, [ratio], "", Limit("least", at_least=recorded[name] * _kept(name)))
        for name, ratio in ratios.items()
    ]


def _kept(name: str) -> float:
    return KEPT_OF_RATE if name.endswith("rate") else KEPT_OF_CPU


def _joined(some: Rounds, more: Rounds) -> Rounds:
    return {each: [*some[each], *more[each]] for each in some}


async def report_of(measure: Measure, order: RegressionOrder, url: str) -> Report:
    """Measure, and once more if a ratio has fallen; or write the ratios down."""
    conditions = {"tasks": order.settings.count, "rounds": order.settings.rounds}
    found = await measure(url, order.settings)
    if order.record:
        ratios = ratios_of(found)
        write_down(ratios, order.recorded)
        return Report("ratios to the floor", conditions, [Figure(*it) for it in _each(ratios)])
    recorded = read(order.recorded)
    report = Report("ratios to the floor", conditions, judged(ratios_of(found), recorded))
    if not report.missed:
        return report
    found = _joined(found, await measure(url, order.settings))
    conditions["rounds"] *= 2
    return Report(report.scenario, conditions, judged(ratios_of(found), recorded))


def _each(ratios: Mapping[str, float]) -> list[tuple[str, list[float]]]:
    return [(name, [ratio]) for name, ratio in ratios.items()]


def read(path: Path) -> dict[str, float]:
    """Read the recorded ratios.

    Raises:
        NothingRecorded: there is no such file, or it is not one of ours.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return {str(name): float(ratio) for name, ratio in found["ratios"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NothingRecorded(
            f"cannot read the recorded ratios of {path}: {error!r}. --record writes them anew"
        ) from error


def write_down(ratios: Mapping[str, float], path: Path) -> None:
    """Write ratios down, with the machine and the day."""
    record = {
        "at": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "ratios": {name: round(ratio, 3) for name, ratio in ratios.items()},
    }
    path.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def execute(order: RegressionOrder, measure: Measure = rounds_of) -> bool:
    """Carry out the order; return True unless a ratio has fallen."""
    with server(order.url) as url:
        reports = (asyncio.run(report_of(measure, order, url)) for _ in range(1))
        return publish(reports, as_json=order.as_json)


@click.command("regression")
@click.option("--url", help="A running server; by default an embedded one is started.")
@click.option("--rounds", type=click.IntRange(min=1), default=_SIZE.rounds, show_default=True)
@click.option("--count", type=click.IntRange(min=100), default=_SIZE.count, show_default=True)
@click.option("--record", is_flag=True, help="Write the ratios down, instead of judging them.")
@click.option(
    "--recorded",
    type=click.Path(path_type=Path, dir_okay=False),
    default=RECORDED,
    help="The file with the recorded ratios; by default that of this tree.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a record instead of the table.")
def regression(
    url: str | None, rounds: int, count: int, record: bool, recorded: Path, as_json: bool
) -> None:
    """Compare with the floor: adds, runs, their rates and their CPU; and with what was recorded.

    Exits with 1 if a ratio is less than 0.6 (of a rate) or 0.7 (of CPU) of the recorded one, in all
    rounds and in as many again.
    """
    settings = Settings(rounds=rounds, count=count, concurrencies=_SIZE.concurrencies)
    if not execute(RegressionOrder(url, settings, record, recorded, as_json)):
        sys.exit(1)
