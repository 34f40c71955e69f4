"""Adoptions under way in a process, with a worker that answers as the test says."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from docket.errors import ConnectionClosed, RefusedCall, ServerUnavailable
from docket.supervision import Adoption
from ipc.messages import MAX_TASKS_LISTED, Adopt, Adopted
from supervisor.backoff import Backoff
from supervisor.worker.adoption_runner import RETRY_CAP_SECONDS, AdoptionRunner

pytestmark = pytest.mark.anyio

DEAD = Adopt("dead.1", "key:k")


class Worker:
    """Adopts, or raises, what a test wants, one after the other; then waits for ever."""

    def __init__(self) -> None:
        self.outcomes: list[Adoption | Exception] = []
        self.asked: list[tuple[str, str, int]] = []
        self.was_asked = asyncio.Event()

    async def adopt(self, consumer: str, *, blame: str, max_deliveries: int) -> Adoption:
        self.asked.append((consumer, blame, max_deliveries))
        self.was_asked.set()
        if not self.outcomes:
            await asyncio.Event().wait()
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Bench:
    """Adoptions, their worker, what they answered, and the pauses they made."""

    def __init__(self) -> None:
        self.worker = Worker()
        self.answers: asyncio.Queue[Adopted] = asyncio.Queue()
        self.pauses: list[float] = []
        self.adoptions = AdoptionRunner(self.worker, 4, self.answers.put_nowait, self._backoff)

    def _backoff(self) -> Backoff:
        def note(most: float) -> float:
            self.pauses.append(most)
            return 0.0

        return Backoff(RETRY_CAP_SECONDS, 1e9, note)

    async def answer(self) -> Adopted:
        async with asyncio.timeout(20):
            return await self.answers.get()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.adoptions.close()


async def test_what_was_done_is_answered_and_no_more_is_listed_than_a_frame_holds(
    bench: Bench,
) -> None:
    keys = tuple(f"key-{number}" for number in range(MAX_TASKS_LISTED + 5))
    bench.worker.outcomes = [Adoption("dead.1", 7, keys)]

    bench.adoptions.begin(DEAD)

    listed = list(keys[:MAX_TASKS_LISTED])
    assert await bench.answer() == Adopted("dead.1", 7, listed, len(keys))
    assert bench.worker.asked == [("dead.1", "key:k", 4)]


async def test_it_is_tried_until_the_server_answers_each_time_later(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    away = [ServerUnavailable("away") for _ in range(9)]
    bench.worker.outcomes = [*away, Adoption("dead.1", 1, ())]

    bench.adoptions.begin(DEAD)

    assert (await bench.answer()).moved == 1
    assert bench.pauses[:3] == [0.1, 0.2, 0.4]
    assert bench.pauses[-1] == RETRY_CAP_SECONDS
    assert caplog.text.count("wait for the server (away)") == 9


async def test_what_the_server_refuses_is_not_asked_again_and_is_answered(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.worker.outcomes = [RefusedCall("NOPERM no")]

    bench.adoptions.begin(DEAD)

    assert await bench.answer() == Adopted("dead.1", 0, [], 0)
    assert len(bench.worker.asked) == 1
    assert "refuses to give the tasks of dead.1 to others: NOPERM no" in caplog.text


@pytest.mark.parametrize(
    ("error", "told"), [(ConnectionClosed("closed"), False), (KeyError("bug"), True)]
)
async def test_what_ends_it_otherwise_is_left_to_another_process(
    bench: Bench, error: Exception, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bench.worker.outcomes = [error, Adoption("dead.2", 0, ())]

    bench.adoptions.begin(DEAD)
    await asyncio.wait_for(bench.worker.was_asked.wait(), 20)
    bench.adoptions.begin(Adopt("dead.2", "nobody"))

    assert (await bench.answer()).consumer == "dead.2"
    assert bench.answers.empty()
    assert ("A bug ended the attempt to adopt dead.1" in caplog.text) is told


async def test_one_that_waits_holds_up_no_other(bench: Bench) -> None:
    bench.adoptions.begin(DEAD)
    await asyncio.wait_for(bench.worker.was_asked.wait(), 20)
    bench.worker.outcomes = [Adoption("dead.2", 3, ())]

    bench.adoptions.begin(Adopt("dead.2", "nobody"))

    assert (await bench.answer()).consumer == "dead.2"


async def test_what_is_under_way_is_dropped_at_the_end(bench: Bench) -> None:
    bench.adoptions.begin(DEAD)
    await asyncio.wait_for(bench.worker.was_asked.wait(), 20)

    await bench.adoptions.close()
    await bench.adoptions.close()

    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("adopt ")] == []
    assert bench.answers.empty()
