"""The pipeline: one connection for all calls, what a lost one means, what the server may answer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from docket.errors import ConnectionClosed, ServerUnavailable
from docket.store import scripts
from docket.store.connection import endpoint, retrying
from docket.store.connection.backoff import backoff_seconds
from docket.store.connection.endpoint import Endpoint
from docket.store.connection.pipeline import LostReply, Pipeline
from docket.store.connection.retrying import retry
from tests.support.proxy import Do, calls, proxy_to, word
from tests.support.store import until

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def pipeline_to(url: str, silence_seconds: float = 10.0) -> AsyncGenerator[Pipeline]:
    pipeline = Pipeline(Endpoint(url), silence_seconds)
    pipeline.open()
    pipeline.open()
    try:
        await pipeline.connected()
        yield pipeline
    finally:
        await pipeline.close()
        await pipeline.close()


async def test_calls_of_one_turn_leave_together_and_come_back_in_their_order(server: str) -> None:
    async with pipeline_to(server) as pipeline:
        replies = await asyncio.gather(*[pipeline.command("ECHO", str(n)) for n in range(50)])
        assert [int(reply) for reply in replies] == list(range(50))
        assert pipeline.round_trips == 1


async def test_an_error_reply_is_its_own_callers_alone(server: str) -> None:
    async with pipeline_to(server) as pipeline:
        before, wrong, after = await asyncio.gather(
            pipeline.command("ECHO", "before"),
            pipeline.command("NOSUCHCOMMAND"),
            pipeline.command("ECHO", "after"),
            return_exceptions=True,
        )
        assert (before, after) == (b"before", b"after")
        assert isinstance(wrong, ResponseError)
        assert pipeline.disruptions == 0


async def test_a_caller_that_went_away_does_not_shift_the_replies(server: str) -> None:
    async with pipeline_to(server) as pipeline:
        gone = asyncio.create_task(pipeline.command("ECHO", "gone"))
        wrong = asyncio.create_task(pipeline.command("NOSUCHCOMMAND"))
        stays = asyncio.create_task(pipeline.command("ECHO", "stays"))
        await asyncio.sleep(0)
        gone.cancel()
        wrong.cancel()
        assert await stays == b"stays"


async def test_scripts_that_the_server_lost_are_loaded_again(server: str) -> None:
    async with pipeline_to(server) as pipeline:
        await pipeline.command("SCRIPT", "FLUSH")
        assert await pipeline.call(scripts.WAKE_IDLE, ["a", "b", "c", "d", "{lost}:bell"], []) == 1
        await pipeline.command("DEL", "{lost}:bell")
        assert await pipeline.command("SCRIPT", "EXISTS", scripts.WAKE_IDLE.digest) == [1]


async def test_scripts_that_the_server_loses_again_and_again_run_all_the_same(server: str) -> None:
    async with proxy_to(server) as proxy, pipeline_to(proxy.url) as pipeline:
        lost = "NOSCRIPT No matching script."
        proxy.intercept(calls(scripts.WAKE_IDLE), Do.ANSWER, times=1000, error=lost)
        for _ in range(3):
            assert (
                await pipeline.call(scripts.WAKE_IDLE, ["a", "b", "c", "d", "{lost}:bell"], []) == 1
            )
        await pipeline.command("DEL", "{lost}:bell")


async def test_a_call_that_was_written_when_the_connection_broke_may_have_taken_effect(
    server: str,
) -> None:
    async with proxy_to(server) as proxy, pipeline_to(proxy.url) as pipeline:
        proxy.intercept(word(b"INCR"), Do.LOSE_REPLY)
        with pytest.raises(LostReply):
            await pipeline.command("INCR", "{pipeline}:n")
        assert await pipeline.command("GET", "{pipeline}:n") == b"1"
        assert pipeline.disruptions == 1
        await pipeline.command("DEL", "{pipeline}:n")


async def test_a_call_waits_for_the_connection_as_long_as_its_patience(server: str) -> None:
    async with proxy_to(server) as proxy, pipeline_to(proxy.url) as pipeline:
        await proxy.refuse()
        await until(lambda: not pipeline.is_connected)
        with pytest.raises(ServerUnavailable, match=r"connect on redis://127\.0\.0\.1"):
            await pipeline.command("PING", patience_seconds=0.05)
        waiting = asyncio.create_task(pipeline.command("PING"))
        await until(lambda: pipeline.failure is not None)
        await proxy.open()
        assert await waiting == b"PONG"
        assert pipeline.failure is None


async def test_calls_fail_with_an_error_that_says_so_once_it_is_closed(server: str) -> None:
    async with proxy_to(server) as proxy:
        pipeline = Pipeline(Endpoint(proxy.url))
        with pytest.raises(ConnectionClosed):
            await pipeline.command("PING")
        pipeline.open()
        await pipeline.connected()
        held = proxy.intercept(word(b"PING"), Do.HOLD_CALL)
        calling = asyncio.create_task(pipeline.command("PING"))
        await held.happened.wait()
        await pipeline.close()
        with pytest.raises(LostReply):
            await calling
        with pytest.raises(ConnectionClosed, match="closed while it was in use"):
            await pipeline.command("PING")


async def test_a_connection_that_says_nothing_any_more_is_given_up(server: str) -> None:
    async with proxy_to(server) as proxy, pipeline_to(proxy.url, 0.05) as pipeline:
        assert await pipeline.command("PING") == b"PONG"
        held = proxy.intercept(word(b"PING"), Do.HOLD_CALL)
        with pytest.raises(LostReply):
            await pipeline.command("PING")
        held.retire.set()
        assert await pipeline.command("PING") == b"PONG"


async def test_a_reply_that_is_late_but_not_lost_keeps_the_connection(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docket.store.connection.pipeline._GRACE_SECONDS", 30.0)
    async with proxy_to(server) as proxy, pipeline_to(proxy.url, 0.001) as pipeline:
        held = proxy.intercept(word(b"PING"), Do.HOLD_REPLY)
        calling = asyncio.create_task(pipeline.command("PING"))
        await held.happened.wait()
        held.retire.set()
        assert await calling == b"PONG"
        assert pipeline.disruptions == 0


async def test_a_peer_that_accepts_and_never_answers_does_not_hold_us_for_ever(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "CONNECT_SECONDS", 0.05)
    async with proxy_to(server) as proxy:
        proxy.half_open()
        pipeline = Pipeline(Endpoint(proxy.url))
        pipeline.open()
        await until(lambda: proxy.accepted >= 2)
        proxy.flow()
        monkeypatch.setattr(endpoint, "CONNECT_SECONDS", 5.0)
        assert await pipeline.command("PING") == b"PONG"
        await pipeline.close()


async def test_a_server_that_lets_us_in_and_shuts_us_out_is_tried_ever_less_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def shut_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(loop.time())
        while data := await reader.read(1000):
            # The greeting is answered; what follows is not.
            writer.write(b"+OK\r\n" * data.count(b"*"))
            if b"PING" in data:
                writer.transport.abort()

    async with await asyncio.start_server(shut_out, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with pipeline_to(f"redis://127.0.0.1:{port}") as pipeline:
            while len(times) < 7:
                with suppress(ServerUnavailable):
                    await pipeline.command("PING")
    # The least that six waits can be, each twice as long as the one before it; were each taken
    # for the first, 0.3 s would be the most.
    assert times[-1] - times[0] > 0.35
    assert caplog.text.count("lost or refused") == 1


async def test_the_log_says_when_a_connection_stands_again(
    server: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "docket.store")
    async with proxy_to(server) as proxy, pipeline_to(proxy.url) as pipeline:
        assert "stands again" not in caplog.text
        proxy.cut()
        await until(lambda: pipeline.disruptions == 1)
        assert await pipeline.command("PING") == b"PONG"
    assert "stands again after 0." in caplog.text


@pytest.mark.parametrize("failures", [1, 2, 5, 20, 10_000])
def test_the_wait_between_two_attempts_doubles_up_to_a_second_and_is_drawn_by_lot(
    failures: int,
) -> None:
    most = min(1.0, 0.05 * 2 ** min(failures - 1, 10))
    drawn = [backoff_seconds(failures) for _ in range(200)]
    assert all(most / 4 <= each <= most for each in drawn)
    assert max(drawn) - min(drawn) > most / 4


NOT_NOW = [
    "LOADING server is loading the dataset in memory",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF Errors writing to the AOF file: No space left on device",
    "BUSY server is busy running a script",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "MASTERDOWN Link with MASTER is down",
    "NOREPLICAS Not enough good replicas to write.",
    "ERR Error running script (call to f_0): @user_script:9: -OOM command not allowed",
]


@pytest.mark.parametrize("answer", NOT_NOW, ids=[answer.split()[0] for answer in NOT_NOW])
async def test_a_server_that_cannot_serve_now_is_unavailable_and_keeps_its_connection(
    server: str, answer: str
) -> None:
    async with proxy_to(server) as proxy, pipeline_to(proxy.url) as pipeline:
        proxy.intercept(word(b"INCR"), Do.ANSWER, error=answer)
        with pytest.raises(ServerUnavailable) as refused:
            await pipeline.command("INCR", "n")
        assert not isinstance(refused.value, LostReply)
        assert await pipeline.command("PING") == b"PONG"
        assert pipeline.disruptions == 0


async def test_a_replica_is_left_for_whoever_is_the_primary_by_now(server: str) -> None:
    async with proxy_to(server) as proxy, pipeline_to(proxy.url) as pipeline:
        accepted = proxy.accepted
        proxy.intercept(
            word(b"INCR"), Do.ANSWER, error="READONLY You can't write against a read only replica."
        )
        with pytest.raises(ServerUnavailable):
            await pipeline.command("INCR", "n")
        assert await pipeline.command("PING") == b"PONG"
        assert proxy.accepted == accepted + 1


async def test_any_other_refusal_is_the_callers_fault(server: str) -> None:
    async with proxy_to(server) as proxy, pipeline_to(proxy.url) as pipeline:
        proxy.intercept(word(b"INCR"), Do.ANSWER, error="NOPERM no permission")
        with pytest.raises(ResponseError) as refused:
            await pipeline.command("INCR", "n")
        assert not isinstance(refused.value, ServerUnavailable)


async def test_a_patient_caller_asks_again_until_it_is_answered(
    server: str,
) -> None:
    async with proxy_to(server) as proxy, pipeline_to(proxy.url) as pipeline:
        proxy.intercept(word(b"ECHO"), Do.ANSWER, times=3, error="LOADING")
        assert await retry(lambda: pipeline.command("ECHO", "x")) == b"x"
        proxy.intercept(word(b"ECHO"), Do.LOSE_REPLY)
        assert await retry(lambda: pipeline.command("ECHO", "x")) == b"x"
        proxy.intercept(word(b"ECHO"), Do.LOSE_REPLY)
        with pytest.raises(LostReply):
            await retry(lambda: pipeline.command("ECHO", "x"), after_lost_reply=False)


async def test_patience_has_an_end(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PATIENCE_SECONDS", 0.1)
    async with proxy_to(server) as proxy, pipeline_to(proxy.url) as pipeline:
        proxy.intercept(word(b"ECHO"), Do.ANSWER, times=1000, error="LOADING loading")
        with pytest.raises(ServerUnavailable, match="loading"):
            await retry(lambda: pipeline.command("ECHO", "x"))


def test_on_uvloop_a_connection_that_closes_under_a_write_is_connected_anew(server: str) -> None:
    # Its transports raise on a write when they are closed; asyncio's do not.
    async def scenario() -> None:
        async with proxy_to(server) as proxy, pipeline_to(proxy.url) as pipeline:
            faults: list[object] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
            for _ in range(5):
                proxy.cut()
                replies = [pipeline.command("PING") for _ in range(3)]
                await asyncio.gather(*replies, return_exceptions=True)
            assert await retry(lambda: pipeline.command("PING")) == b"PONG"
            assert faults == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 20))


async def test_a_real_server_that_is_out_of_memory_or_a_replica_is_unavailable(
    server: str,
) -> None:
    async with pipeline_to(server) as pipeline, Redis.from_url(server) as client:
        await client.config_set("maxmemory", "1")
        try:
            with pytest.raises(ServerUnavailable, match="maxmemory"):
                await pipeline.call(scripts.WAKE_IDLE, ["a", "b", "c", "d", "{oom}:bell"], [])
        finally:
            await client.config_set("maxmemory", "0")
        await client.replicaof("127.0.0.1", 1)
        try:
            with pytest.raises(ServerUnavailable, match="read only replica"):
                await pipeline.call(scripts.WAKE_IDLE, ["a", "b", "c", "d", "{oom}:bell"], [])
        finally:
            await client.replicaof("NO", "ONE")
        assert await pipeline.call(scripts.WAKE_IDLE, ["a", "b", "c", "d", "{oom}:bell"], []) == 1
        await client.delete("{oom}:bell")


async def test_the_calls_that_a_proxy_matches_are_those_of_one_script() -> None:
    matches = calls(scripts.WAKE_IDLE, having=b"x")
    assert matches([b"EVALSHA", scripts.WAKE_IDLE.digest.encode(), b"x"])
    assert not matches([b"EVALSHA", scripts.WAKE_IDLE.digest.encode(), b"y"])
    assert not matches([b"EVALSHA", scripts.BEAT.digest.encode(), b"x"])
