"""The course of a comparison: who takes part, and who is measured when."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from redis.exceptions import RedisError

from stress.bench.peers.arena import Arena
from stress.bench.peers.catalogue import Peer
from stress.bench.peers.contestant import AdapterFailed, Contestant
from stress.bench.peers.environments import NotInstalled, environment_of
from stress.bench.peers.measurements import Measurement, Sizes
from stress.bench.peers.table import Comparison, Row

#: For one measurement of one contestant, beyond its patience with lost tasks.
_MEASURED_SECONDS = 150.0
_LONGEST_NOTE = 300

Report = Callable[[str], None]


@dataclass(frozen=True)
class Turn:
    """One measurement of one contestant."""

    measurement: Measurement
    contestant: Contestant


@dataclass
class Course:
    """All turns of a comparison, and what they found."""

    arena: Arena
    sizes: Sizes
    measurements: Sequence[Measurement]
    report: Report
    contestants: list[Contestant] = field(default_factory=list[Contestant])
    about: dict[str, dict[str, object]] = field(default_factory=dict[str, dict[str, object]])
    notes: list[str] = field(default_factory=list[str])
    rows: dict[str, Row] = field(default_factory=dict[str, Row])

    def __post_init__(self) -> None:
        """Lay out the rows."""
        for each in self.measurements:
            for name, unit in each.rows.items():
                self.rows[name] = Row(name, unit)

    async def invite(self, peer: Peer, cache: Path, interpreters: Sequence[str]) -> None:
        """Install a peer and ask for its settings; note the reason if that fails."""
        self.report(f"installing {peer.name}")
        try:
            program = await asyncio.to_thread(environment_of, peer, cache, interpreters)
            contestant = Contestant(peer, program, self.arena.url)
            self.about[peer.name] = await contestant.describe()
        except (NotInstalled, AdapterFailed) as error:
            self.notes.append(f"{peer.name}: not installed: {_one_line(error)}")
            return
        self.contestants.append(contestant)
        for measurement in self.measurements:
            if reason := peer.absent.get(measurement.name):
                self.notes.append(f"{peer.name}, {measurement.name}: {reason}")

    def turns(self, rounds: int) -> list[Turn]:
        """List the turns: in each round every contestant, another one first each time."""
        found: list[Turn] = []
        for number in range(rounds):
            for measurement in self.measurements:
                if measurement.once and number:
                    continue
                start = number % max(len(self.contestants), 1)
                order = self.contestants[start:] + self.contestants[:start]
                found += [
                    Turn(measurement, each)
                    for each in order
                    if measurement.name not in each.peer.absent
                ]
        return found

    async def take(self, turn: Turn) -> None:
        """Measure, and keep the figures; a failure is noted, and costs nobody else anything."""
        name = turn.contestant.peer.name
        self.report(f"{name}: {turn.measurement.name}")
        limit = _MEASURED_SECONDS + self.sizes.kill_seconds
        try:
            async with asyncio.timeout(limit):
                figures = await turn.measurement.measure(turn.contestant, self.arena, self.sizes)
        except TimeoutError:
            self._note(name, turn, f"not done within {limit:g} s")
        except (AdapterFailed, psutil.Error, RedisError) as error:
            self._note(name, turn, _one_line(error))
        else:
            for row, value in figures.items():
                self.rows[row].samples.setdefault(name, []).append(value)
            absent = turn.measurement.rows.keys() - figures.keys()
            if absent:
                self._note(name, turn, f"no {', '.join(sorted(absent))} in the time given")

    def _note(self, name: str, turn: Turn, reason: str) -> None:
        note = f"{name}, {turn.measurement.name}: {reason}"
        if note not in self.notes:
            self.notes.append(note)

    def comparison(self, conditions: dict[str, object]) -> Comparison:
        """Sum up."""
        return Comparison(
            conditions,
            [each.peer.name for each in self.contestants],
            [each.peer.name for each in self.contestants if each.peer.is_ours],
            list(self.rows.values()),
            self.about,
            self.notes,
        )


def _one_line(error: Exception) -> str:
    """Shorten to the beginning, and the last line that names an error, if there is one."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines[1:] if "Error" in line]
    return " ".join([*lines[:1], *named[-1:]])[:_LONGEST_NOTE]
