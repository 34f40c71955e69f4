"""Whatever somebody writes into a docket's keys, whoever looks at it gets an answer, and soon."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from docket import Docket
from docket.errors import DeserializationError
from docket.listing import Filter, ListedState
from docket.serialization.display import HIDDEN, arguments_text
from docket.serialization.msgpack_codec import HEADER
from tests.support.dockets import soon
from tests.support.machine_settings import examples
from tests.support.programs import run_docket

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytest.importorskip("jinja2", reason="the extra web is not installed")

from docket.web import app
from tests.support.web_client import Browser

KEYS = ("running", "queued", "scheduled", "waiting", "failed", "done")
FIELDS = (
    "state generation function call when attempt worker started_at completed_at error deaths "
    "limits logged predecessor progress_current progress_total progress_message "
    "progress_updated_at trace perpetual entry attempts cancel"
).split()
PLACES = (
    "stream front suspects queue failed completed cancelled audit workers epochs leases pauses "
    "holds slots:one waiting:one worker-tasks:w task-workers:greet task:queued failed-task:failed "
    "stats:60:{minute} stats:900:{quarter}"
).split()
PAGES = (
    "", "?over=24h", "functions", "functions?over=24h", "workers", "schedules", "limits", "holds",
    "audit", "tasks", *(f"tasks?state={state.value}" for state in ListedState),
    *(f"task?key={key}" for key in KEYS), "act/cancel?key=queued", "act/retry?by=filter",
)  # fmt: skip


@pytest.fixture
async def docket(server: str, docket_name: str) -> AsyncGenerator[Docket]:
    async with Docket(docket_name, server) as docket:
        yield docket


HUGE = b"9" * 5000
TIMES = b"9223372036854775807"
GARBAGE = st.sampled_from(
    [
        b"", b" ", b"x", b"nan", b"inf", b"-inf", b"-1", b"1.5", b"1e400", b"9" * 400, HUGE, TIMES,
        b"-" + TIMES, TIMES + b" 1 key", b"9" * 400 + b" 1 key", HUGE + b" 1 key", b"-5 1 key",
        b"\xff\xfe", b"\x1b]0;x\x07\n", b"<script>alert(1)</script>", b"running", b"failed",
        b"scheduled", b"waiting", b"1\x1fhow\x1fw\x1f1\x1f2\x1f\xff\x1e",
        HUGE + b"\x1f\x1b[31m\x1fw\x1f" + TIMES + b"\x1f-9\x1fe\x1ft",
        b"1 " + TIMES + b" failed", HUGE + b" " + TIMES + b" \xff",
        msgspec.msgpack.encode(["1", "-9" * 20, "r", "b"]),
        msgspec.msgpack.encode([HUGE.decode(), TIMES.decode(), "\x1b", "b"]),
        msgspec.msgpack.encode({"g": "1", "o": 2**63, "w": [["one", -1], ["two", 2**63]]}),
        msgspec.msgpack.encode({"g": "1", "o": 1e300, "w": [[b"\xff", 1]]}),
        msgspec.msgpack.encode({"g": "1", "w": {"one": 1}}),
        b'{"identity":"i","at":%s,"by":"\\u001b","origin":"","act":"","target":"","outcome":""}'
        % TIMES,
        b'["i",-9223372036854775808,"","","","",""]', b'{"at":1e999}',
        HEADER + b"\x92\x91\x81\x91\x01\x02\x80", HEADER + b"\x91" * 3000,
        HEADER + b"\xdf\xff\xff\xff\xff",
    ]
) | st.binary(max_size=30)  # fmt: skip
CODES = st.sampled_from([b"s", b"o", b"f", b"D", b"D0", b"W17", b"W99", b"z", b""])

Write = tuple[str, str, bytes]
WRITES = st.lists(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(FIELDS), GARBAGE)
    | st.tuples(
        st.sampled_from(["string", "list", "hash", "zset", "set", "stream"]),
        st.sampled_from(PLACES),
        GARBAGE,
    )
    | st.tuples(st.just("inside"), st.sampled_from(PLACES), GARBAGE)
    | st.tuples(st.just("count"), st.sampled_from(["60", "900"]), GARBAGE),
    min_size=1,
    max_size=12,
)

PUT: dict[str, Callable[[Any, str, bytes], Any]] = {
    "string": lambda client, name, value: client.set(name, value),
    "list": lambda client, name, value: client.lpush(name, value),
    "hash": lambda client, name, value: client.hset(name, value or b"k", value),
    "zset": lambda client, name, value: client.zadd(name, {value: "inf"}),
    "set": lambda client, name, value: client.sadd(name, value),
    "stream": lambda client, name, value: client.xadd(name, {value or b"k": value}),
}


async def greet(name: str = "") -> None: ...


async def filled(docket: Docket, client: Any) -> None:
    """An execution in each state, as nobody needs a worker to write them."""
    seconds = int((await client.time())[0])
    for number, key in enumerate(KEYS):
        record: dict[str, Any] = {
            "state": {"done": "completed", "waiting": "scheduled"}.get(key, key),
            "generation": 1, "function": "greet", "when": seconds * 1_000_000, "attempt": 1,
            "worker": "w", "started_at": seconds * 1_000_000, "completed_at": seconds * 1_000_000,
            "entry": f"s{seconds}-{number}", "perpetual": 0,
        }  # fmt: skip
        if key == "waiting":
            record["limits"] = msgspec.msgpack.encode({"g": "1", "o": 1, "w": [["one", 1]]})
        await client.hset(docket.runs_key(key), mapping=record)
    await client.copy(docket.runs_key("failed"), docket.key("failed-task:failed"))
    await client.xgroup_create(docket.key("stream"), "workers", mkstream=True)
    await client.xadd(docket.key("stream"), {"k": "running"}, id=f"{seconds}-0")
    await client.xreadgroup("workers", "w", {docket.key("stream"): ">"})
    await client.xadd(docket.key("stream"), {"k": "queued"}, id=f"{seconds}-1")
    await client.zadd(docket.key("queue"), {"scheduled": 4e12, "waiting": 253402300800000})
    await client.zadd(docket.key("failed"), {"failed": seconds * 1000})
    await client.lpush(docket.key("completed"), f"{seconds * 1_000_000} 1 done")
    await client.zadd(docket.key("workers"), {"w": (seconds + 100) * 1000})
    await client.sadd(docket.key("worker-tasks:w"), "greet")
    await client.zadd(docket.key("waiting:one"), {"waiting": 1})


async def write(client: Any, docket: Docket, what: str, where: str, value: bytes) -> None:
    seconds = int((await client.time())[0])
    minute, quarter = seconds - seconds % 60, seconds - seconds % 900
    name = docket.key(where.format(minute=minute, quarter=quarter))
    match what:
        case "count":
            name = docket.key(f"stats:{where}:{seconds - seconds % int(where)}")
            if await client.type(name) in (b"hash", b"none"):
                await client.hset(
                    name, mapping={f"{c} {value!r:.9}": value for c in ("s", "f", "D", "D0", "W3")}
                )
        case "inside":
            kind = (await client.type(name)).decode()
            if kind == "hash":
                for field in [*await client.hkeys(name), value]:
                    await client.hset(name, field, value)
            else:
                await PUT["string" if kind == "none" else kind](client, name, value)
        case "string" | "list" | "hash" | "zset" | "set" | "stream":
            await client.delete(name)
            await PUT[what](client, name, value)
        case key:
            for name in (docket.runs_key(key), docket.key(f"failed-task:{key}")):
                if await client.type(name) in (b"hash", b"none"):
                    await client.hset(name, where, value)


async def looked_at(docket: Docket) -> None:
    """Everything that a program which looks may ask."""
    for state in ListedState:
        cursor = None
        for _ in range(3):
            page = await docket.executions(state, limit=1, cursor=cursor)
            cursor = page.cursor
            if cursor is None:
                break
    for key in KEYS:
        await docket.describe(key)
    reads: Sequence[Callable[[], Awaitable[object]]] = (
        docket.backlog, docket.counts, docket.counts_by_state, docket.statistics, docket.pauses,
        docket.strikes, docket.workers, docket.recurring, docket.limits, docket.recorded_acts,
        docket.snapshot,
    )  # fmt: skip
    for read in reads:
        await soon(read())


async def attack(url: str, writes: list[Write]) -> None:
    async with Docket(f"test-{uuid4().hex}", url) as docket:
        docket.register(greet)
        client: Any = docket.connections.client()
        await filled(docket, client)
        for each in writes:
            with contextlib.suppress(ResponseError):  # Its own write before, of another type.
                await write(client, docket, *each)
        await looked_at(docket)
        browser = Browser(app(docket))
        for page in PAGES:
            answer = await soon(browser.get(f"/d/{docket.name}/{page}"))
            assert answer.status == 200, (page, answer.words)
            assert "<script>alert" not in answer.text
        await browser.close()
        await client.delete(*[k async for k in client.scan_iter(f"{{{docket.name}}}*")])


@pytest.mark.long
@settings(
    max_examples=examples(40),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    # Not to explain, by which every line that is run is noted.
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink],
)
@example([("count", "60", b"9" * 400)])
@example([("count", "60", HUGE)])
@example([("inside", "completed", HUGE + b" 1 done"), ("inside", "completed", b"9" * 30 + b" 1 x")])
@given(WRITES)
def test_whoever_looks_gets_an_answer_whatever_stands_in_the_docket(
    server: str, writes: list[Write]
) -> None:
    asyncio.run(attack(server, writes))


# Terminals --------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_log_of_attempts_controls_no_terminal(docket: Docket, server: str) -> None:
    row = "1\x1f\x1b]0;owned\x07\x1fw\x1b[2J\x1f1\x1f2\x1fe\x1b[31m\x1ft\x1b[31m"
    async with docket.redis() as redis:
        await redis.hset(
            docket.runs_key("k"), mapping={"state": "failed", "function": "f", "attempts": row}
        )

    code, output, _ = await run_docket("show", "--docket", docket.name, "--url", server, "k")

    assert code == 0
    assert "Attempt 1:" in output
    assert "\x1b" not in output
    assert "\x07" not in output


@pytest.mark.anyio
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
async def test_times_at_the_end_of_all_times_are_shown_in_any_zone(
    docket: Docket, server: str, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        async with docket.redis() as redis:
            for key, at in (("late", TIMES), ("early", b"-" + TIMES)):
                await redis.hset(
                    docket.runs_key(key),
                    mapping={"state": "scheduled", "function": "f", "when": at, "generation": 1},
                )
                await redis.zadd(docket.key("queue"), {key: 4e12})
            text = TIMES.decode()
            pause = msgspec.msgpack.encode([f"-{text}", text, "", ""])
            await redis.hset(docket.key("pauses"), "f", pause)
        given = ("--docket", docket.name, "--url", server)
        for command in (["ls", *given], ["show", *given, "late"], ["show", *given, "early"]):
            code, output, errors = await run_docket(*command)
            assert code == 0, errors
            assert "f(" in output
        for command in ("pauses", "stats", "snapshot"):
            code, _, errors = await run_docket(command, *given)
            assert code == 0, errors
    finally:
        monkeypatch.undo()
        time.tzset()


# Times ------------------------------------------------------------------------------------


def colliding(number: int) -> bytes:
    """A map whose keys are tuples of the same hash: hash(-1) == hash(-2)."""
    width = max(1, (number - 1).bit_length())
    keys = (
        b"".join(b"\xff" if n >> bit & 1 else b"\xfe" for bit in range(width))
        for n in range(number)
    )
    header = b"\xdc" + width.to_bytes(2, "big")
    return b"\xdf" + number.to_bytes(4, "big") + b"".join(header + key + b"\x00" for key in keys)


def apart(number: int) -> bytes:
    """A map as large as a `colliding` one, whose keys have a hash each: pairs of numbers."""
    keys = (
        b"\x92\xcd" + n.to_bytes(2, "big") + b"\xcd" + n.to_bytes(2, "big") for n in range(number)
    )
    return b"\xdf" + number.to_bytes(4, "big") + b"".join(key + b"\x00" for key in keys)


async def seconds_to_look(docket: Docket, make: Callable[[int], bytes]) -> float:
    """The CPU time to look at a hundred tasks whose maps were made like that."""
    bomb = b"\xdf" + (2**14).to_bytes(4, "big") + make(2**14)[5:]
    call = HEADER + b"\x92\x91" + make(800) + b"\x80"
    async with docket.redis() as redis:
        for number in range(100):
            await redis.hset(
                docket.runs_key(f"k{number}"),
                mapping={"state": "scheduled", "function": "f", "generation": 1, "call": call},
            )
            await redis.zadd(docket.key("queue"), {f"k{number}": 4e12})
        limits = b"\x83\xa1g\xa11\xa1o\x01\xa1w" + bomb
        await redis.hset(docket.runs_key("k0"), "limits", limits)

    began = time.process_time()
    page = await docket.executions_matching(Filter.of(), 200)
    await docket.describe("k0")
    await docket.limits()
    spent = time.process_time() - began

    assert len(page.executions) == 100
    return spent


@pytest.mark.anyio
async def test_keys_that_collide_block_nobody_who_looks(docket: Docket) -> None:
    harmless = await seconds_to_look(docket, apart)

    # It would be a hundred times as long if each key was compared with all before it.
    assert await seconds_to_look(docket, colliding) < 5 * harmless


@pytest.mark.anyio
async def test_payloads_that_are_nested_deeply_are_left_out(server: str, docket_name: str) -> None:
    deep = b"\x91" * 100_000 + b"\x00"
    async with Docket(docket_name, server, serializer="msgpack") as docket:
        docket.register(greet)
        for key in ("bad", "good"):
            await docket.add(greet, key=key)("Ann")
        bad = await docket.get_execution("bad")
        assert bad is not None
        async with docket.redis() as redis:
            await redis.hset(docket.runs_key("bad"), "call", HEADER + b"\x92\x91" + deep + b"\x80")

        snapshot = await docket.snapshot()
        assert [execution.key for execution in snapshot.future] == ["good"]
        with pytest.raises(DeserializationError, match="arguments cannot be read back"):
            await docket.get_execution("bad")

        async with docket.redis() as redis:
            error = HEADER + b"\x94\xa1E\xa1m\xa1t" + deep
            ended: dict[Any, Any] = {"state": "failed", "error": "E: m", "result": error}
            await redis.hset(docket.runs_key("bad"), mapping=ended)
        with pytest.raises(DeserializationError, match="exception cannot be read back"):
            await bad.get_result()


@pytest.mark.anyio
async def test_many_scopes_and_functions_are_many_questions_to_nobody(docket: Docket) -> None:
    scopes = [[f"scope-{n}", 1] for n in range(50_000)]
    limits = msgspec.msgpack.encode({"g": "1", "o": 1, "w": scopes})
    names = [f"f{n}" for n in range(20_000)]
    async with docket.redis() as redis:
        await redis.hset(
            docket.runs_key("k"),
            mapping={"state": "scheduled", "function": "f", "generation": 1, "limits": limits},
        )
        await redis.zadd(docket.key("queue"), {"k": 253402300800000})
        await redis.zadd(docket.key("workers"), {"w": 4e12})
        await redis.sadd(docket.key("worker-tasks:w"), *names)
    browser = Browser(app(docket))

    began = time.process_time()
    assert len(await docket.limits()) <= 100
    for page in ("limits", "task?key=k", "functions"):
        assert (await browser.get(f"/d/{docket.name}/{page}")).status == 200
    await browser.close()

    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    "arguments",
    [
        ((), {}), ((1, None, "é", b"x", [1, [2]]), {"a": {"b": [{"c": 1.5}]}, "d": True}),
        (({(1, 2): 3, -1: "x"},), {"when": "now"}), (([],), {"empty": {}}),
    ],
)  # fmt: skip
def test_long_arguments_are_shown_as_short_ones_are(
    arguments: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = HEADER + msgspec.msgpack.encode(arguments)
    short = arguments_text(payload)

    monkeypatch.setattr("docket.serialization.display._SHORT", 0)

    assert arguments_text(payload) == short != HIDDEN
