"""Whatever somebody writes into a docket's keys: every good task ends, and the worker goes on."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from docket import Docket, Retry, Worker
from docket.clock import now
from docket.errors import DocketError
from tests.support.dockets import at_work, soon
from tests.support.machine_settings import examples

VICTIMS = ("now-1", "now-2", "later-1", "later-2")
FIELDS = (
    "state entry generation function call when attempt deaths from trace worker started_at cancel "
    "limits token tokens perpetual progress_phase progress_current result error completed_at"
).split()
#: Keys that stand in the way of everything; of the others each stands in the way of its own.
FIXED = ("stream", "front", "suspects", "queue", "bell", "workers", "epochs", "leases", "watch")
OTHERS = ("holds", "slots:one", "task-workers:good", "task:now-1", "task:later-1")

VALUES = st.sampled_from(
    [
        b"", b" ", b"x", b"nan", b"inf", b"-1", b"1.5", b"1e400", b"0x10", b"9" * 400,
        b"9" * 5000, b"9223372036854775808", b"\xff\xfe", b"\x1b]0;x\x07\n", b"running", b"queued",
        b"scheduled", b"failed", b"s1-1", b"s99999999999999999999999-1", b"z", b"1 no-instant",
        b"\x81\xa1w\x93\x01\x02\x03", b"\xdd\xff\xff\xff\xff",
        b"\x83\xa1g\xa11\xa1o\x01\xa1w\x91\x01",
        b"x" * 1_000_000,
    ]
) | st.binary(max_size=40)  # fmt: skip

Write = tuple[str, str, bytes]
WRITES = st.lists(
    st.tuples(st.sampled_from(VICTIMS), st.sampled_from(FIELDS), VALUES)
    | st.tuples(st.just("delete"), st.sampled_from(FIELDS), st.just(b""))
    | st.tuples(
        st.sampled_from(["string", "list", "hash", "zset", "stream"]),
        st.sampled_from(FIXED + OTHERS),
        VALUES,
    )
    | st.tuples(st.just("inside"), st.sampled_from(FIXED + OTHERS), VALUES)
    | st.tuples(st.just("publish"), st.sampled_from(["wake", "cancel", "state:now-1"]), VALUES),
    min_size=1,
    max_size=12,
)


async def write(client: Redis, docket: Docket, what: str, where: str, value: bytes) -> None:
    """Does what an attacker, or a program with a bug, may do on the server."""
    name = docket.key(where)
    match what:
        case "delete":
            for victim in VICTIMS:
                await client.hdel(docket.runs_key(victim), where)
        case "publish":
            await client.publish(name, value)
        case "inside":
            await write_inside(client, name, value)
        case "string" | "list" | "hash" | "zset" | "stream":
            await client.delete(name)
            await PUT[what](client, name, value)
        case victim:
            await client.hset(docket.runs_key(victim), where, value)


PUT: dict[str, Callable[[Any, str, bytes], Any]] = {
    "string": lambda client, name, value: client.set(name, value),
    "list": lambda client, name, value: client.rpush(name, value),
    "hash": lambda client, name, value: client.hset(name, value or b"k", value),
    "zset": lambda client, name, value: client.zadd(name, {value: "inf"}),
    "stream": lambda client, name, value: client.xadd(name, {value or b"k": value}),
}


async def write_inside(client: Redis, name: str, value: bytes) -> None:
    """Garbage of the right type."""
    match (await client.type(name)).decode():
        case "none":
            await client.set(name, value)
        case "set":
            await client.sadd(name, value)
        case "hash":
            for field in [*await client.hkeys(name), value]:
                await client.hset(name, field, value)
        case kind:
            await PUT[kind](client, name, value)
            # A record for what now stands in the queue, or in a stream.
            with contextlib.suppress(ResponseError):
                record = name.partition("}")[0].encode() + b"}:task:" + value
                await client.hset(record, mapping={"state": "scheduled", "function": value})


@contextlib.asynccontextmanager
async def working(url: str, ran: set[str]) -> AsyncGenerator[tuple[Docket, Worker]]:
    async def good(name: str) -> None:
        ran.add(name)

    docket = Docket(f"test-{uuid4().hex}", url, heartbeat_interval=timedelta(milliseconds=50))
    async with docket:
        docket.register(good, names=["good", "victim"])
        worker = Worker(
            docket,
            minimum_check_interval=timedelta(milliseconds=20),
            redelivery_timeout=timedelta(seconds=2),
        )
        async with worker, at_work(worker):
            yield docket, worker


async def attack(url: str, writes: list[Write]) -> None:
    ran = set[str]()
    async with working(url, ran) as (docket, _):
        client = docket.connections.client()
        await asyncio.gather(
            *(
                docket.add("victim", now() + timedelta(seconds="later" in key), key=key)(key)
                for key in VICTIMS
            )
        )
        for each in writes:
            with contextlib.suppress(ResponseError):  # The worker was quicker.
                await write(client, docket, *each)
        await soon(docket.snapshot())
        await soon(docket.workers())
        with contextlib.suppress(DocketError, ResponseError):  # That record's own.
            await soon(docket.get_execution("now-1"))
        for key in ("good-1", "good-2"):
            execution = await docket.add("good", key=key)(key)
            await soon(execution.get_result())
        assert ran >= {"good-1", "good-2"}


@pytest.mark.long
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([("now-1", "attempt", b"x"), ("now-2", "when", b"nan"), ("later-1", "deaths", b"x")])
@example([("now-1", "function", b"\xff"), ("string", "epochs", b"x")])
@given(WRITES)
def test_every_good_task_ends_whatever_else_stands_in_the_docket(
    server: str, writes: list[Write]
) -> None:
    asyncio.run(attack(server, writes))


MALFORMED = [
    ("attempt", b"x"),
    ("attempt", None),
    ("when", None),
    ("when", b"nan"),
    ("when", b"9" * 30),
    ("deaths", b"x"),
    ("deaths", b"-1"),
    ("generation", b"one"),
    ("generation", None),
    ("function", b"\xff"),
    ("function", None),
    ("call", None),
    ("state", b"x"),
    ("entry", b"x"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("field", "value"), MALFORMED)
async def test_a_task_whose_record_is_malformed_fails_alone_with_a_line_that_names_it(
    server: str, caplog: pytest.LogCaptureFixture, field: str, value: bytes | None
) -> None:
    async with Docket(f"test-{uuid4().hex}", server) as docket:

        async def good() -> None: ...

        docket.register(good)
        client, record = docket.connections.client(), docket.runs_key("victim")
        await docket.add(good, key="victim")()
        beside = await docket.add(good, key="beside")()
        if value is None:
            await client.hdel(record, field)
        else:
            await client.hset(record, field, value)

        async with Worker(docket) as worker, at_work(worker):
            await soon(beside.get_result())

        assert await client.hget(record, "state") == b"failed"
        assert b"malformed" in (await client.hget(record, "error") or b"")
        (line,) = [r.getMessage() for r in caplog.records if "victim" in r.getMessage()]
        assert field in line
        # And its name can be used again.
        again = await docket.add(good, key="victim")()
        async with Worker(docket) as worker, at_work(worker):
            await soon(again.get_result())


@pytest.mark.anyio
@pytest.mark.parametrize("state", ["queued", "scheduled", "running"])
async def test_a_record_that_lacks_a_field_does_not_end_the_worker_that_claims_it(
    server: str, state: str
) -> None:
    ran = set[str]()
    async with working(server, ran) as (docket, _):
        client = docket.connections.client()
        record = {
            **dict.fromkeys(FIELDS, "1"),
            "state": state,
            "function": "good",
            "entry": "1-1",
            "when": "1",
            "limits": "",
        }
        for number, lacking in enumerate(FIELDS):
            key = f"lacks-{lacking}"
            fields = {name: value for name, value in record.items() if name != lacking}
            await client.hset(docket.runs_key(key), mapping=fields)  # type: ignore[arg-type]
            await client.zadd(docket.key("queue"), {key: 0})
            execution = await docket.add("good", key=f"good-{number}")(f"good-{number}")
            await soon(execution.get_result())
        await soon(docket.snapshot())


@pytest.mark.anyio
@pytest.mark.parametrize("attempts", [b"\x1e" * 200_000, b"x" * 20_000_000, b"\x1e" * 20_000_000])
async def test_a_log_of_attempts_of_any_size_holds_up_nobody(server: str, attempts: bytes) -> None:
    async with Docket(f"test-{uuid4().hex}", server) as docket:

        async def fails(retry: Retry = Retry(attempts=2)) -> None:
            raise ValueError("x")

        docket.register(fails)
        client = docket.connections.client()
        execution = await docket.add(fails, key="victim")()
        await client.hset(docket.runs_key("victim"), "attempts", attempts)

        before = await used_cpu_seconds(client)
        async with Worker(docket) as worker, at_work(worker):
            with pytest.raises(ValueError, match="x"):
                await soon(execution.get_result())

        assert await used_cpu_seconds(client) - before < 1
        details = await docket.describe("victim")
        assert details is not None
        assert [each.number for each in details.attempts] == [1, 2]


async def used_cpu_seconds(client: Any) -> float:
    info = await client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])
