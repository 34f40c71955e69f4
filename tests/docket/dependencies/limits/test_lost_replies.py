"""The connection breaks while a worker asks for slots: the answer holds, whichever it was."""

import pytest

from docket import ConcurrencyLimit, Docket, Worker
from docket.store import scripts
from tests.support.dockets import Gate, at_work, result_of, soon
from tests.support.limits import Ledger, leftovers
from tests.support.proxy import Do, calls, proxy_to

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("do", [Do.LOSE_CALL, Do.LOSE_REPLY])
@pytest.mark.parametrize("lost", ["granted", "waiting"])
async def test_a_task_whose_request_or_answer_is_lost_runs_once_and_leaves_no_slot(
    server: str, docket_name: str, do: Do, lost: str
) -> None:
    ledger = Ledger()
    gate = Gate()

    async def task(i: int, limit: ConcurrencyLimit = ConcurrencyLimit()) -> int:
        ledger.enter("slot", i)
        await gate.pass_through()
        ledger.leave("slot")
        return i

    async with (
        proxy_to(server) as proxy,
        Docket(docket_name, proxy.url) as docket,
        Worker(docket) as worker,
    ):
        first, second = b"first", b"second"
        interception = proxy.intercept(
            calls(scripts.ACQUIRE, having=first if lost == "granted" else second), do
        )
        async with at_work(worker):
            executions = [await docket.add(task, key=first.decode())(1)]
            await soon(gate.reached.wait())
            executions.append(await docket.add(task, key=second.decode())(2))
            await soon(interception.happened.wait())
            gate.opened.set()
            assert [await result_of(execution) for execution in executions] == [1, 2]
        assert await leftovers(docket) == set()

    assert ledger.order() == [1, 2]
    assert ledger.peak == {"slot": 1}
    assert worker.counters.succeeded == 2
