"""Give the tasks of dead workers to live ones, and measure the time that it takes."""

from collections import OrderedDict
from typing import TypeVar

from ipc.messages import Adopt, Adopted
from supervisor.observer import AdoptionFinished, FirstRedelivered
from supervisor.pool.state.adoption_queue import Adoption
from supervisor.pool.state.pool_state import PoolState, log
from supervisor.pool.state.worker_registry import WorkerProcess
from supervisor.text import durations
from supervisor.text.plurals import pluralize

#: Dead consumers of which something may still be reported: the first redelivery, or what the second
#: of two adopters moved.
REMEMBERED_DEATHS = 256

V = TypeVar("V")


class AdoptionManager:
    """The service of the adoption queue: sends, logs and reports what happens to it."""

    def __init__(self, pool_state: PoolState) -> None:
        self._pool_state = pool_state
        #: consumer -> (slot, when its death was seen), until its first redelivery.
        self._deaths: OrderedDict[str, tuple[int, float]] = OrderedDict()
        #: consumer -> its adoption, once an adopter has reported the end of it.
        self._finished: OrderedDict[str, Adoption] = OrderedDict()

    def add(self, dead: WorkerProcess, blame: str, now: float) -> None:
        """Hold what `dead` was running until a worker has adopted it."""
        self._pool_state.adoptions.add(dead, blame, now)
        for consumer in dead.consumers:
            _remember(self._deaths, consumer, (dead.slot, now))

    def settle(self) -> None:
        """Ask a live worker for each adoption that no worker has."""
        pool_state = self._pool_state
        able = [each for each in pool_state.registry.alive() if each.can_adopt]
        for adoption, adopter in pool_state.adoptions.assign(able):
            pool_state.send(adopter, Adopt(adoption.consumer, adoption.blame))

    def hedge(self, newcomer: WorkerProcess) -> None:
        """Ask a worker that has just become ready for the adoptions that others have not done.

        The one that was asked may be busy with a task that blocks its loop; a newcomer has nothing
        to do yet. The second of them finds nothing left to move.
        """
        pool_state = self._pool_state
        for adoption in pool_state.adoptions.unfinished_by_others(newcomer.number):
            pool_state.send(newcomer, Adopt(adoption.consumer, adoption.blame))

    def finished(self, message: Adopted, now: float) -> None:
        """End an adoption: an adopter has moved everything that it found.

        Two may have been asked. Each reports the tasks that it has moved itself, and the one that
        found nothing left may report first: that ends the adoption, and what the other one has
        moved is reported all the same.
        """
        adoption = self._pool_state.adoptions.done(message.consumer)
        is_first = adoption is not None
        if adoption is not None:
            _remember(self._finished, message.consumer, adoption)
        else:
            adoption = self._finished.get(message.consumer)
        source = message.consumer
        if adoption is not None:
            age = durations.brief(now - adoption.died_at)
            source = f"worker {adoption.slot}, {age} after its death"
        if message.moved:
            log.info("put back %s of %s", pluralize(message.moved, "task"), source)
        poisoned = max(message.poisoned_total, len(message.poisoned))
        self._pool_state.totals.poisoned += poisoned
        if poisoned:
            log.error(
                "%s failed as poison, for --max-deliveries deaths of workers: %s",
                pluralize(poisoned, "task"),
                ", ".join(message.poisoned),
            )
        if adoption is None or not (is_first or message.moved or poisoned):
            return
        names, seconds = tuple(message.poisoned), now - adoption.died_at
        self._pool_state.observe(
            AdoptionFinished(adoption.slot, message.consumer, message.moved, names, seconds, now)
        )

    def redelivered(self, consumer: str, started_at: float) -> None:
        """Count the first task of a dead consumer that any worker of the pool claimed."""
        death = self._deaths.pop(consumer, None)
        if death is None:
            return
        slot, died_at = death
        event = FirstRedelivered(slot, consumer, died_at, started_at)
        self._pool_state.totals.redelivered_after(event.seconds)
        log.info(
            "the first task of dead worker %d was claimed again %s after its death",
            slot,
            durations.brief(max(0.0, event.seconds)),
        )
        self._pool_state.observe(event)


def _remember(memory: OrderedDict[str, V], consumer: str, value: V) -> None:
    memory[consumer] = value
    if len(memory) > REMEMBERED_DEATHS:
        memory.popitem(last=False)
