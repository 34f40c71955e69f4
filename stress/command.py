"""The command line that `bench`, `runtime` and `soak` share: scenarios by name, figures, limits."""

import asyncio
import dataclasses
import random
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from stress.report import Report, publish
from stress.server import server


@dataclass(frozen=True)
class Settings:
    """The size of a scenario; 0 where it has nothing of the kind.

    Arguments:
        rounds: repetitions of the measured action.
        count: tasks of a round.
        concurrencies: of a worker, one set of figures each.
        processes: workers of the pool.
        seconds: length of an observation.
        seed: of everything random in it.
    """

    rounds: int
    count: int = 0
    concurrencies: tuple[int, ...] = ()
    processes: int = 0
    seconds: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Scenario:
    """One measurement on a server, and its size unless the command line gives another."""

    run: Callable[[str, Settings], Awaitable[Report]]
    settings: Settings


_POSITIVE = click.IntRange(min=1)
#: The options of a size, by the field of Settings.
_SIZES: dict[str, click.Option] = {
    "rounds": click.Option(["--rounds"], type=_POSITIVE, help="Repetitions."),
    "count": click.Option(["--count"], type=_POSITIVE, help="Tasks of a round."),
    "concurrencies": click.Option(
        ["--concurrency", "concurrencies"],
        multiple=True,
        type=_POSITIVE,
        help="Of a worker; may be given more than once.",
    ),
    "processes": click.Option(["--processes"], type=_POSITIVE, help="Workers of the pool."),
    "seconds": click.Option(
        ["--seconds"],
        type=click.FloatRange(min=0, min_open=True),
        help="Length of an observation.",
    ),
    "seed": click.Option(
        ["--seed"],
        type=int,
        default=lambda: random.randrange(1_000_000),
        help="Of the random choices; by default a new one each time.",
    ),
}


def measuring_command(
    name: str,
    scenarios: Iterable[str],
    measure: Callable[[str, Mapping[str, Any]], Report],
    options: Sequence[click.Option],
    *,
    text: str,
    check: Callable[[Sequence[str], Mapping[str, Any]], None] = lambda _names, _given: None,
    can_fail: bool = True,
) -> click.Command:
    """Make a command that measures the scenarios that are named, or all of them.

    Arguments:
        measure: called with the name of a scenario and the values of the options.
        check: called first, with all names and the values; raises click.UsageError.
        options: of this command, beside those that all have.
        text: of its help.
        can_fail: exit with 1 if a limit is missed.
    """
    known = list(scenarios)

    def run(names: tuple[str, ...], as_json: bool, no_limits: bool = False, **given: Any) -> None:
        chosen = names or known
        check(chosen, given)
        reports = (measure(each, given) for each in chosen)
        are_kept = publish(reports, as_json=as_json)
        if can_fail and not are_kept and not no_limits:
            sys.exit(1)

    parameters: list[click.Parameter] = [
        click.Argument(["names"], nargs=-1, type=click.Choice(known), metavar="[SCENARIO]..."),
        *options,
        click.Option(["--json", "as_json"], is_flag=True, help="Print a record with all samples."),
    ]
    if can_fail:
        no_limits = click.Option(["--no-limits"], is_flag=True, help="Exit with 0 in any case.")
        parameters.append(no_limits)
        text += "\n\nExits with 1 if a limit is missed."
    listed = f"{text}\n\nScenarios: {', '.join(known)}."
    return click.Command(name, params=parameters, callback=run, help=listed)


def scenario_command(
    name: str,
    scenarios: Mapping[str, Scenario],
    sizes: Sequence[str],
    *,
    text: str,
    limit_seconds: float | None = None,
    can_fail: bool = True,
) -> click.Command:
    """Make a command of scenarios that run on a server with Settings.

    Arguments:
        sizes: the fields of Settings that the command line can change.
        limit_seconds: the time after which a scenario counts as hung.
    """
    url = click.Option(["--url"], help="A running server; by default an embedded one is started.")

    def measure(name: str, given: Mapping[str, Any]) -> Report:
        return _measure(scenarios[name], given, limit_seconds)

    def check(names: Sequence[str], given: Mapping[str, Any]) -> None:
        for size in set(sizes) - {"seed"}:
            if given[size] and not any(getattr(scenarios[each].settings, size) for each in names):
                option = _SIZES[size].opts[0]
                raise click.UsageError(f"{', '.join(names)}: there is no {option} to change")

    return measuring_command(
        name,
        scenarios,
        measure,
        [url, *(_SIZES[size] for size in sizes)],
        text=text,
        check=check,
        can_fail=can_fail,
    )


def _measure(scenario: Scenario, given: Mapping[str, Any], limit: float | None) -> Report:
    sizes = {name: value for name, value in given.items() if name in _SIZES and value}
    settings = dataclasses.replace(scenario.settings, **sizes)

    async def bounded(url: str) -> Report:
        async with asyncio.timeout(limit):
            return await scenario.run(url, settings)

    with server(given["url"]) as url:
        return asyncio.run(bounded(url))
