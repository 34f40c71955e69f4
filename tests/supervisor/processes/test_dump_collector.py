import asyncio
from pathlib import Path

import pytest

from supervisor.pool.state.stack_dump import functions_called
from supervisor.processes.dump_collector import MOST_CHARACTERS, DumpCollector

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


async def test_what_writes_without_a_pause_is_cut_into_records() -> None:
    records: list[str] = []
    dumps = DumpCollector(records.append)
    for _ in range(3):
        dumps.add("x" * (MOST_CHARACTERS // 2))
    assert [len(record) for record in records] == [MOST_CHARACTERS]
    dumps.flush()
    assert len(records) == 2


DOCKET = Path(__file__).parents[3] / "docket"


def test_the_functions_called_are_those_between_docket_and_the_innermost_frame() -> None:
    stack = [
        "Thread 0x1 (most recent call first):",
        '  File "/usr/lib/threading.py", line 324 in wait',
        "",
        "Current thread 0x2 (most recent call first):",
        '  File "/usr/lib/re/__init__.py", line 166 in match',
        '  File "/home/a b/shop.py", line 3 in retried',
        '  File "/home/a b/shop.py", line 9 in retried',
        '  File "/home/a b/shop.py", line 12 in crunch',
        f'  File "{DOCKET}/services/executor.py", line 207 in _execute_call',
        '  File "/usr/lib/asyncio/runners.py", line 44 in run',
        "",
        "Extension modules: uvloop.loop (total: 1)",
    ]
    assert functions_called("\n".join(stack)) == ["match", "retried", "crunch"]


@pytest.mark.parametrize(
    "stack",
    [
        [],
        ["Current thread 0x2 (most recent call first):"],
        ["Current thread 0x2:", '  File "/home/shop.py", line 3 in child', "  ..."],
        [
            "Thread 0x2:",
            '  File "/home/shop.py", line 3 in f',
            f'  File "{DOCKET}/a.py", line 1 in r',
        ],
        ["Current thread 0x2:", f'  File "{DOCKET}/store/a.py", line 1 in encode'],
    ],
)
def test_no_function_is_named_where_docket_called_none_of_the_users(stack: list[str]) -> None:
    assert functions_called("\n".join(stack)) == []
