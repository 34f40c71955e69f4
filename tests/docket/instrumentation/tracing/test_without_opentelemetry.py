"""Without the extra `otel` there are no spans, and everything else is as it is with it."""

import sys

import anyio
import pytest

from tests.support.programs import ROOT, environment

pytestmark = pytest.mark.anyio

PROGRAM = """
import asyncio, sys
sys.modules["opentelemetry"] = None  # As if it were not installed.
from docket import Docket, Worker
from docket.instrumentation import TASKS_ADDED, tracing

async def greet(name):
    return f"Hello, {name}!"

async def main():
    async with Docket(sys.argv[1], sys.argv[2], enable_internal_instrumentation=True) as docket:
        execution = await docket.add(greet)("Ann")
        async with Worker(docket, enable_internal_instrumentation=True) as worker:
            await worker.run_until_finished()
        stored = await docket.get_execution(execution.key)
        print(await execution.get_result(), stored.trace_context)

asyncio.run(main())
print(tracing.tracer(), tracing.carried({}), tracing.context_of(b"{}"), TASKS_ADDED)
print([name for name in sys.modules if name.startswith("opentelemetry.")])
"""


async def test_tasks_run_and_nothing_of_it_is_imported(server: str, docket_name: str) -> None:
    with anyio.fail_after(40):
        done = await anyio.run_process(
            [sys.executable, "-c", PROGRAM, docket_name, server],
            cwd=ROOT,
            env=environment({}),
            check=False,
        )

    assert done.stderr.decode() == ""
    assert done.stdout.decode().splitlines() == ["Hello, Ann! None", "None b'' None None", "[]"]
