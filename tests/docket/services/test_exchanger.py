"""The exchanger on a real worker: full slots, refusals, being taken for dead, and leaving."""

import asyncio
from datetime import timedelta

import pytest

from docket import Docket, Execution, Worker
from docket.execution import ExecutionState
from docket.store import scripts
from tests.support.counted_runs import Runs, calls_of, known, run_more
from tests.support.dockets import Gate, at_work, failure_of, found, look, result_of, soon
from tests.support.proxy import Do, calls, proxy_to
from tests.support.store import Store, store_at, until

pytestmark = pytest.mark.anyio

QUICK = timedelta(milliseconds=50)


@pytest.fixture
def runs() -> Runs:
    return Runs()


class TestSlots:
    async def test_all_free_slots_are_filled_however_few_one_call_takes(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with Docket(docket_name, server) as docket:
            known(docket, runs)
            for n in range(5):
                await docket.add("wait")(n)
            async with at_work(Worker(docket, concurrency=5, message_batch=1)):
                await until(lambda: len(runs.gate.arrivals) == 5, "five runs at once")
                runs.gate.opened.set()

    async def test_more_slots_than_one_call_fills_are_filled_too(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with Docket(docket_name, server) as docket:
            known(docket, runs)
            await asyncio.gather(*[docket.add("wait")(n) for n in range(600)])
            async with at_work(Worker(docket, concurrency=600)):
                await until(lambda: len(runs.gate.arrivals) == 600, "600 runs at once")
                runs.gate.opened.set()

    async def test_a_freed_slot_takes_the_next_task_at_once(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
            known(docket, runs)
            await asyncio.gather(*[docket.add("count")(n) for n in range(30)])
            trips = calls_of(proxy, scripts.EXCHANGE)
            async with at_work(Worker(docket, concurrency=1)):
                await until(lambda: len(runs.of) == 30)
            # One a task: each carries an outcome and brings the next one.
            assert len(trips) <= 30 + 5


class TestRefusedOutcomes:
    async def test_the_outcome_that_the_server_refuses_fails_alone(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
            known(docket, runs)
            async with at_work(Worker(docket)):
                executions = [await docket.add("wait", key=f"k{n}")(n) for n in range(5)]
                await until(lambda: len(runs.gate.arrivals) == 5)
                proxy.intercept(refuses(b"k2", b"C"), Do.ANSWER, times=2, error="ERR too large")
                runs.gate.opened.set()
                assert [await result_of(executions[n]) for n in (0, 1, 3, 4)] == [0, 1, 3, 4]
                assert "too large" in str(await failure_of(executions[2]))
                await run_more(docket, runs)

    async def test_an_outcome_that_cannot_be_recorded_at_all_gives_its_lease_up(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
            known(docket, runs)
            async with at_work(Worker(docket)) as worker:
                await docket.add("wait", key="k")("k")
                await soon(runs.gate.reached.wait())
                refusal = proxy.intercept(refuses(b"k"), Do.ANSWER, times=2, error="ERR too large")
                runs.gate.opened.set()
                await until(lambda: refusal.times == 0)
                await run_more(docket, runs)
                assert worker.running_tasks() == []
                assert (await found(docket, "k")).state is ExecutionState.RUNNING

    async def test_outcomes_leave_in_calls_of_bounded_size(
        self, server: str, docket_name: str
    ) -> None:
        gate = Gate()

        async def big() -> bytes:
            await gate.pass_through()
            return bytes(3 << 20)

        async with (
            proxy_to(server) as proxy,
            Docket(docket_name, proxy.url) as docket,
            at_work(Worker(docket)),
        ):
            executions: list[Execution] = [await docket.add(big)() for _ in range(6)]
            await until(lambda: len(gate.arrivals) == 6)
            sizes = calls_of(proxy, scripts.EXCHANGE)
            gate.opened.set()
            for execution in executions:
                assert len(await result_of(execution)) == 3 << 20
            assert max(sizes) < 8 << 20


def refuses(key: bytes, kind: bytes | None = None):
    """Exchanges that hand in an outcome of a key."""
    matches = calls(scripts.EXCHANGE, having=key)
    return lambda words: matches(words) and (kind is None or kind in words)


class TestTakenForDead:
    async def test_its_runs_are_stopped_given_to_others_and_it_goes_on_under_a_new_name(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with Docket(docket_name, server) as docket, store_at(server, docket_name) as store:
            known(docket, runs)
            async with at_work(Worker(docket, name="w")) as worker:
                execution = await docket.add("wait", key="k")("k")
                await soon(runs.gate.reached.wait())
                runs.gate.reached.clear()
                name = worker.consumer
                assert await store.adopt(name, "nobody") == (1, [])
                look(worker)
                await soon(runs.gate.reached.wait())
                assert worker.consumer != name
                assert worker.consumer.startswith("w.")
                runs.gate.opened.set()
                assert await result_of(execution) == "k"
                assert runs.of["k"] == 2
                assert worker.counters.superseded == 1
                assert worker.counters.succeeded == 1
                await until(lambda: is_clean(store))

    async def test_a_worker_without_a_free_slot_notices_too(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with (
            Docket(docket_name, server, heartbeat_interval=QUICK, missed_heartbeats=100) as docket,
            store_at(server, docket_name) as store,
        ):
            known(docket, runs)
            async with at_work(Worker(docket, concurrency=1)) as worker:
                await docket.add("wait", key="k")("k")
                await soon(runs.gate.reached.wait())
                name = worker.consumer
                await store.adopt(name, "nobody")
                await until(lambda: worker.consumer != name, "a new name")
                await until(lambda: runs.of["k"] == 2)
                runs.gate.opened.set()

    async def test_what_it_hands_in_meanwhile_is_not_acknowledged(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        # Fenced by the first of several calls of an adoption: its entries are still there.
        async with Docket(docket_name, server) as docket, store_at(server, docket_name) as store:
            known(docket, runs)
            async with at_work(Worker(docket, concurrency=2)) as worker:
                execution = await docket.add("wait", key="k")("k")
                await soon(runs.gate.reached.wait())
                name = worker.consumer
                await store.client.hdel(store.keys.epochs, name)
                await store.client.zrem(store.keys.workers, name)
                look(worker)
                await until(lambda: worker.counters.superseded == 1)
                assert list((await store.state()).pending.values()) == [name]
                assert await store.adopt(name, "nobody") == (1, [])
                runs.gate.opened.set()
                assert await result_of(execution) == "k"
                assert runs.of["k"] == 2

    async def test_a_struck_off_worker_whose_server_goes_away_registers_when_it_is_back(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with (
            proxy_to(server) as proxy,
            Docket(docket_name, proxy.url) as docket,
            store_at(server, docket_name) as store,
        ):
            known(docket, runs)
            async with at_work(Worker(docket)) as worker:
                await store.adopt(worker.consumer, "nobody")
                proxy.intercept(calls(scripts.REGISTER), Do.LOSE_REPLY, times=2)
                look(worker)
                await run_more(docket, runs)
                await store.adopt(worker.consumer, "nobody")
                proxy.cut()
                await run_more(docket, runs)


async def is_clean(store: Store) -> bool:
    state = await store.state()
    return not state.places and not state.pending


class TestLeaving:
    async def test_what_an_exchange_brings_after_the_deadline_of_a_drain_is_requeued(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with (
            proxy_to(server) as proxy,
            Docket(docket_name, proxy.url) as docket,
            store_at(server, docket_name) as store,
        ):
            known(docket, runs)
            worker = Worker(docket)
            async with at_work(worker):
                # A server that does not know the script yet is sent it by another command.
                await run_more(docket, runs)
                held = proxy.intercept(calls(scripts.EXCHANGE), Do.HOLD_REPLY)
                await store.add("k")
                await soon(held.happened.wait())
                assert (await store.record())["state"] == "running"
                worker.drain(0)
                # The deadline has passed once the loop has gone round.
                await store.client.ping()
                held.retire.set()
            record = await store.record()
            assert record["state"] == "queued"
            assert (await store.state()).faults() == []

    async def test_the_outcomes_of_an_exchange_that_is_cancelled_are_handed_in_again(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with proxy_to(server) as proxy, Docket(docket_name, proxy.url) as docket:
            known(docket, runs)
            working = asyncio.create_task(Worker(docket).run_forever())
            execution = await docket.add("wait")("k")
            await soon(runs.gate.reached.wait())
            held = proxy.intercept(calls(scripts.EXCHANGE, having=b"C"), Do.HOLD_CALL)
            runs.gate.opened.set()
            await soon(held.happened.wait())
            working.cancel()
            await asyncio.sleep(0)
            working.cancel()
            held.retire.set()
            with pytest.raises(asyncio.CancelledError):
                await soon(working)
            assert await result_of(execution) == "k"

    async def test_a_worker_that_is_interrupted_hands_back_what_it_runs(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with Docket(docket_name, server) as docket, store_at(server, docket_name) as store:
            known(docket, runs)
            working = asyncio.create_task(Worker(docket).run_forever())
            await docket.add("wait", key="k")("k")
            await soon(runs.gate.reached.wait())
            working.cancel()
            await asyncio.sleep(0)
            working.cancel()
            with pytest.raises(asyncio.CancelledError):
                await soon(working)
            after = await store.state()
            assert after.records["k"]["state"] == "queued"
            assert after.where("k")[0][0] == "f"
            assert after.workers == frozenset()
            assert after.faults() == []

    async def test_a_worker_that_runs_again_has_a_name_of_its_own(
        self, server: str, docket_name: str, runs: Runs
    ) -> None:
        async with Docket(docket_name, server) as docket:
            known(docket, runs)
            worker = Worker(docket)
            names: list[str] = []
            for n in range(2):
                async with at_work(worker):
                    names.append(worker.consumer)
                    assert await result_of(await docket.add("count")(n)) == n
            assert len(set(names)) == 2
