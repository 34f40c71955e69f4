"""The exchanger on a real worker: lost replies, and a server that cannot serve now."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from docket import Docket, Execution, Worker
from docket.execution import ExecutionState
from docket.store import scripts
from tests.support.counted_runs import Runs, known, run_more
from tests.support.dockets import Told, at_work, found, result_of, soon
from tests.support.proxy import Do, Interception, Proxy, calls, proxy_to
from tests.support.store import store_at, until

pytestmark = pytest.mark.anyio

QUICK = timedelta(milliseconds=50)


@pytest.fixture
def runs() -> Runs:
    return Runs()


async def run_all(docket: Docket, runs: Runs, count: int = 20) -> None:
    """Adds tasks to a worker that is at work, and sees each end once."""
    executions = [await docket.add("count")(n) for n in range(count)]
    assert [await result_of(execution) for execution in executions] == list(range(count))
    assert runs.of == Counter(range(count))


async def claimed_unheard(proxy: Proxy, elsewhere: Docket) -> tuple[Execution, Interception]:
    """A task `k` that a worker behind the proxy has claimed, and whose answer is held."""
    held = proxy.intercept(calls(scripts.EXCHANGE), Do.HOLD_REPLY)
    added = await elsewhere.add("count", key="k")("k")
    await soon(held.happened.wait())
    while (await found(elsewhere, "k")).state is not ExecutionState.RUNNING:
        # It had looked before there was anything.
        empty, held = held, proxy.intercept(calls(scripts.EXCHANGE), Do.HOLD_REPLY)
        empty.retire.set()
        await soon(held.happened.wait())
    return added, held


class TestLostReplies:
    @pytest.fixture
    async def told(self) -> Told:
        return Told()

    @pytest.mark.parametrize("lost", [Do.LOSE_REPLY, Do.LOSE_CALL], ids=["reply", "call"])
    async def test_an_exchange_with_an_outcome_is_made_again_and_the_outcome_counts_once(
        self, server: str, docket_name: str, runs: Runs, lost: Do
    ) -> None:
        async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
            known(docket, runs)
            async with at_work(Worker(docket)) as worker:
                execution = await docket.add("wait")("k")
                await soon(runs.gate.reached.wait())
                interception = proxy.intercept(calls(scripts.EXCHANGE, having=b"C"), lost)
                runs.gate.opened.set()
                assert await result_of(execution) == "k"
                assert interception.happened.is_set()
                await until(lambda: worker.counters.succeeded == 1)
                assert worker.counters.superseded == 0
                assert runs.of == Counter(["k"])
                # Nothing is left behind: the entry is gone, its slot is free.
                await run_more(docket, runs)

    @pytest.mark.parametrize("lost", [Do.LOSE_REPLY, Do.LOSE_CALL], ids=["reply", "call"])
    async def test_an_exchange_that_claimed_is_recovered_and_each_claim_runs_once(
        self, server: str, docket_name: str, runs: Runs, lost: Do
    ) -> None:
        async with Docket(docket_name, server) as producer:
            known(producer, runs)
            executions = [await producer.add("count")(n) for n in range(20)]
            async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
                known(docket, runs)
                interception = proxy.intercept(calls(scripts.EXCHANGE), lost)
                async with at_work(Worker(docket)):
                    for n, execution in enumerate(executions):
                        assert await result_of(execution) == n
                    assert interception.happened.is_set()
                    assert runs.of == Counter(range(20))

    @pytest.mark.parametrize(
        "script", [scripts.RAISE_EPOCH, scripts.RECLAIM, scripts.REGISTER], ids=lambda s: s.name
    )
    @pytest.mark.parametrize("lost", [Do.LOSE_REPLY, Do.LOSE_CALL], ids=["reply", "call"])
    async def test_a_recovery_that_is_itself_interrupted_begins_again(
        self, server: str, docket_name: str, runs: Runs, script: scripts.Script, lost: Do
    ) -> None:
        async with Docket(docket_name, server) as producer:
            known(producer, runs)
            executions = [await producer.add("count")(n) for n in range(20)]
            async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
                known(docket, runs)
                proxy.intercept(calls(scripts.EXCHANGE), Do.LOSE_REPLY)
                interception = proxy.intercept(calls(script), lost, times=2)
                async with at_work(Worker(docket)):
                    for n, execution in enumerate(executions):
                        assert await result_of(execution) == n
                    assert interception.happened.is_set()
                    assert runs.of == Counter(range(20))

    async def test_a_claim_whose_answer_comes_after_its_lease_has_ended_is_not_run_here_too(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        lease = timedelta(milliseconds=300)
        async with (
            proxy_to(server) as proxy,
            Docket(docket_name, proxy.url) as docket,
            Docket(docket_name, server) as elsewhere,
        ):
            known(docket, runs)
            known(elsewhere, runs)
            async with at_work(Worker(docket, redelivery_timeout=lease)) as late:
                # A server that does not know the script yet is sent it by another command.
                await run_more(docket, runs)
                first, held = await claimed_unheard(proxy, elsewhere)
                async with at_work(Worker(elsewhere, redelivery_timeout=lease)):
                    assert await result_of(first) == "k"
                    held.retire.set()
                    second = await docket.add("count")("l")
                    assert await result_of(second) == "l"
                await until(lambda: late.running_tasks() == [])
        assert runs.of == Counter(["k", "l"])

    async def test_a_claim_whose_answer_took_half_of_its_lease_is_claimed_anew_before_it_runs(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        lease = timedelta(seconds=1)
        async with (
            proxy_to(server) as proxy,
            Docket(docket_name, proxy.url) as docket,
            Docket(docket_name, server) as elsewhere,
        ):
            known(docket, runs)
            known(elsewhere, runs)
            async with at_work(Worker(docket, redelivery_timeout=lease)):
                await run_more(docket, runs)
                added, held = await claimed_unheard(proxy, elsewhere)
                anew = proxy.intercept(calls(scripts.RECLAIM), Do.HOLD_REPLY)
                await asyncio.sleep(lease.total_seconds() / 2)
                held.retire.set()
                await soon(anew.happened.wait())
                assert "k" not in runs.of
                anew.retire.set()
                assert await result_of(added) == "k"
        assert runs.of["k"] == 1

    async def test_an_exchange_that_arrives_after_the_recovery_from_its_loss_does_nothing(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
            known(docket, runs)
            told = Told()
            async with at_work(Worker(docket, concurrency=1), told):
                first = await docket.add("wait")("first")
                await soon(runs.gate.reached.wait())
                late = proxy.intercept(
                    calls(scripts.EXCHANGE, having=b"C"), Do.HOLD_CALL, cut_client=True
                )
                told.is_ready.clear()
                runs.gate.opened.set()
                await soon(late.happened.wait())
                await soon(told.is_ready.wait())
                assert await result_of(first) == "first"
                second = await docket.add("wait")("second")
                assert await result_of(second) == "second"
                third = await docket.add("wait", key="third")("third")
                assert await result_of(third) == "third"
                # Now the held one arrives: its outcome is not ours, and it claims nothing.
                await docket.cancel("none")
                late.retire.set()
                await soon(late.served.wait())
                await run_more(docket, runs)
                assert runs.of["first"] == 1

    async def test_a_cancel_whose_reply_was_lost_is_made_again(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
            known(docket, runs)
            await docket.add("count", key="k")("k")
            proxy.intercept(calls(scripts.CANCEL), Do.LOSE_REPLY)
            await docket.cancel("k")
            assert (await found(docket, "k")).state is ExecutionState.CANCELLED


REFUSALS = {
    "LOADING": "LOADING server is loading the dataset in memory",
    "READONLY": "READONLY You can't write against a read only replica.",
    "OOM": "OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF": "MISCONF Errors writing to the AOF file: No space left on device",
}


class TestAServerThatCannotServeNow:
    @pytest.mark.parametrize("answer", list(REFUSALS))
    async def test_the_worker_goes_on_and_hands_its_outcomes_in_afterwards(
        self, server: str, docket_name: str, runs: Runs, answer: str
    ) -> None:
        async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
            known(docket, runs)
            told = Told()
            async with at_work(Worker(docket), told) as worker:
                execution = await docket.add("wait")("k")
                await soon(runs.gate.reached.wait())
                refusals = [
                    proxy.intercept(calls(script), Do.ANSWER, times=2, error=REFUSALS[answer])
                    for script in (scripts.EXCHANGE, scripts.RAISE_EPOCH, scripts.RECLAIM)
                ]
                told.is_waiting.clear()
                runs.gate.opened.set()
                assert await result_of(execution) == "k"
                assert all(refusal.happened.is_set() for refusal in refusals)
                assert told.is_waiting.is_set()
                await until(lambda: worker.counters.succeeded == 1)
                assert runs.of == Counter(["k"])
                await run_more(docket, runs)

    async def test_tasks_that_end_while_the_server_is_away_are_recorded_when_it_is_back(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
            known(docket, runs)
            told = Told()
            async with at_work(Worker(docket, concurrency=50), told) as worker:
                executions = [await docket.add("wait")(n) for n in range(50)]
                await until(lambda: len(runs.gate.arrivals) == 50)
                told.is_waiting.clear()
                await proxy.refuse()
                runs.gate.opened.set()
                await until(lambda: worker.running_tasks() == [])
                await soon(told.is_waiting.wait())
                await proxy.open()
                for n, execution in enumerate(executions):
                    assert await result_of(execution) == n
                assert runs.of == Counter(range(50))

    async def test_the_loss_of_scripts_group_or_everything_in_the_middle_stops_nothing(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with Docket(docket_name, server) as docket, store_at(server, docket_name) as store:
            known(docket, runs)
            async with at_work(Worker(docket)):
                await store.client.script_flush()
                await run_more(docket, runs)
                await store.client.delete(
                    store.keys.stream, store.keys.redelivery, store.keys.quarantine
                )
                await run_more(docket, runs)
                await store.client.flushall()
                await run_more(docket, runs)
                await run_all(docket, runs)
