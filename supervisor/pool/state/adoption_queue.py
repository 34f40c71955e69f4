"""The tasks of the dead, until a live worker has them (pure).

Each adoption is held until its adopter reports that it is done; if the adopter dies first, or gives
no answer while it could have, another one is asked: adopting twice does no harm, since the second
finds nothing left to move.
"""

from collections.abc import Iterable

from msgspec import Struct

from supervisor.pool.state.worker_registry import WorkerProcess

#: The tasks that a death counts for, as docket understands it.
BLAME_EVERYONE = "everyone"
BLAME_NOBODY = "nobody"
_BLAME_KEY = "key:"
_BLAME_FUNCTIONS = "functions:"


def blame_key(key: str) -> str:
    """The blame for one task."""
    return _BLAME_KEY + key


def blame_functions(names: Iterable[str]) -> str:
    """The blame for the one task that was running of these functions, or that was running at all.

    If there were several, it cannot be known which one it was: then it counts for nobody.
    """
    return _BLAME_FUNCTIONS + " ".join(name for name in names if " " not in name)


class Adoption(Struct, eq=False):
    """One dead consumer whose tasks are to be adopted. Times are of the monotonic clock."""

    consumer: str
    blame: str
    #: The slot of the dead worker.
    slot: int
    died_at: float
    #: Number of the worker that was asked.
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
            self._waiting[consumer] = Adoption(consumer, blame, dead.slot, now)

    def assign(self, candidates: Iterable[WorkerProcess]) -> list[tuple[Adoption, WorkerProcess]]:
        """Give each adoption that no worker has to the candidate with the fewest.

        Among equals, to the one that runs the fewest tasks: the loop of a busy one may be in the
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
        """The adoptions given to others and not done: a worker that is idle may do them as well."""
        return [
            adoption
            for adoption in self._waiting.values()
            if adoption.adopter is not None and adoption.adopter != number
        ]

    def done(self, consumer: str) -> Adoption | None:
        """Remove an adoption that is done; None for one that is not held (it was done before)."""
        return self._waiting.pop(consumer, None)

    def adopter_gone(self, number: int) -> None:
        """Take back the adoptions of a worker that died, or can no longer adopt."""
        for adoption in self._waiting.values():
            if adoption.adopter == number:
                adoption.adopter = None

    def held_by(self, number: int) -> int:
        """The number of adoptions that this worker was asked for and has not finished."""
        return sum(adoption.adopter == number for adoption in self._waiting.values())

    def consumers(self) -> list[str]:
        """The consumers whose tasks are still held."""
        return list(self._waiting)
