"""The tasks of the dead, until a live worker has them (pure).

Each adoption is held until its adopter says that it is done; if the adopter dies first, or gives
no answer while it could have, another one is asked: adopting twice does no harm, since the second
finds nothing left to move.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from supervisor.pool.state.worker_registry import WorkerProcess

#: Whom a death counts for, as docket understands it.
BLAME_EVERYONE = "everyone"
BLAME_NOBODY = "nobody"
_BLAME_KEY = "key:"
_BLAME_FUNCTIONS = "functions:"


def blame_key(culprit: str | None) -> str:
    """The blame for one task, or for nobody if it is not known which."""
    return BLAME_NOBODY if culprit is None else _BLAME_KEY + culprit


def blame_functions(names: Iterable[str]) -> str:
    """The blame for the one task that was running of these functions, or that was running at all.

    It counts for nobody if there were several: which one it was cannot be told.
    """
    return _BLAME_FUNCTIONS + " ".join(name for name in names if " " not in name)


@dataclass(slots=True, eq=False)
class Adoption:
    """One dead consumer whose tasks are to go round again. Times are of the monotonic clock."""

    consumer: str
    blame: str
    #: Number of the dead incarnation and of its slot.
    of: int
    slot: int
    died_at: float
    #: Number of the incarnation that was asked.
    adopter: int | None = None


class AdoptionQueue:
    """Adoptions not yet done, oldest first."""

    def __init__(self) -> None:
        self._waiting: dict[str, Adoption] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, dead: WorkerProcess, blame: str, now: float) -> None:
        """Hold what `dead` was running; a worker that never claimed leaves nothing."""
        for consumer in dead.consumers:
            self._waiting[consumer] = Adoption(consumer, blame, dead.number, dead.slot, now)

    def assign(self, candidates: Iterable[WorkerProcess]) -> list[tuple[Adoption, WorkerProcess]]:
        """Give each adoption that nobody has to the candidate with the fewest.

        Among equals to the one that runs the fewest tasks: the loop of a busy one may be in the
        middle of something that blocks it.
        """
        able = list(candidates)
        if not able:
            return []
        load = {each.number: self.held_by(each.number) for each in able}
        given: list[tuple[Adoption, WorkerProcess]] = []
        for adoption in self._waiting.values():
            if adoption.adopter is None:
                adopter = min(
                    able, key=lambda each: (load[each.number], each.in_flight, each.number)
                )
                load[adopter.number] += 1
                adoption.adopter = adopter.number
                given.append((adoption, adopter))
        return given

    def unfinished_by_others(self, number: int) -> list[Adoption]:
        """What was given to others and is not done: a worker that is idle may do it as well."""
        return [
            adoption
            for adoption in self._waiting.values()
            if adoption.adopter is not None and adoption.adopter != number
        ]

    def done(self, consumer: str) -> Adoption | None:
        """Its adopter has moved everything; None for one that is not held (said twice)."""
        return self._waiting.pop(consumer, None)

    def adopter_gone(self, number: int) -> None:
        """The adopter died, or can no longer adopt: what it has not finished is open again."""
        for adoption in self._waiting.values():
            if adoption.adopter == number:
                adoption.adopter = None

    def held_by(self, number: int) -> int:
        """How many adoptions this incarnation was asked for and has not finished."""
        return sum(adoption.adopter == number for adoption in self._waiting.values())

    def open(self) -> int:
        """How many adoptions nobody has been asked for."""
        return sum(adoption.adopter is None for adoption in self._waiting.values())

    def consumers(self) -> list[str]:
        """What is still held, for a last word about what was left behind."""
        return list(self._waiting)
