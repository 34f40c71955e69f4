import asyncio

import pytest

from supervisor.dumps import DumpCollector

pytestmark = pytest.mark.anyio


async def test_the_pieces_of_a_dump_are_one_record() -> None:
    whole: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    dumps = DumpCollector(whole.set_result)
    dumps.add("Thread 1\n")
    dumps.add("Thread 2\n")
    async with asyncio.timeout(5):
        assert await whole == "Thread 1\nThread 2\n"


async def test_what_a_dead_worker_wrote_is_handed_over_at_once() -> None:
    records: list[str] = []
    dumps = DumpCollector(records.append)
    dumps.flush()
    dumps.add("Thread 1\n")
    dumps.flush()
    dumps.flush()
    assert records == ["Thread 1\n"]
