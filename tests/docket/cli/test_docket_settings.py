"""The settings of the docket in every command: options, the environment, a factory."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from docket import Docket, ExecutionState
from docket.errors import TaskError
from tests.support import cli_tasks
from tests.support.dockets import failure_of, knowing, result_of
from tests.support.programs import run_docket, run_docket_process

pytestmark = pytest.mark.anyio

FACTORIES = "tests.support.docket_factories:"
TASKS = ("--tasks", "tests.support.cli_tasks:tasks", "--until-finished")


@pytest.fixture
async def typed(server: str, docket_name: str) -> AsyncGenerator[Docket]:
    """An open docket of a service that uses msgpack."""
    docket = Docket(docket_name, server, serializer="msgpack")
    async with knowing(docket, cli_tasks.tasks) as opened:
        yield opened


def on(docket: Docket) -> tuple[str, ...]:
    return ("--docket", docket.name, "--url", docket.url)


async def seconds_left(docket: Docket, key: str) -> float:
    async with docket.redis() as redis:
        return await redis.ttl(docket.runs_key(key))


@pytest.mark.parametrize("way", ["options", "environment", "factory"])
async def test_a_worker_is_told_serializer_and_execution_ttl(typed: Docket, way: str) -> None:
    execution = await typed.add(cli_tasks.greet)("Ann")
    given, environment = {
        "options": (("--serializer", "msgpack", "--execution-ttl", "1d"), {}),
        "environment": ((), {"DOCKET_SERIALIZER": "msgpack", "DOCKET_EXECUTION_TTL": "24h"}),
        "factory": (("--docket-factory", FACTORIES + "msgpack"), {}),
    }[way]

    code, _, errors = await run_docket_process(
        "worker", *on(typed), *TASKS, *given, env=environment
    )

    assert (code, errors) == (0, "")
    assert await result_of(execution) == "Hello, Ann!"
    assert await seconds_left(typed, execution.key) > 80_000


async def test_a_worker_is_told_its_heartbeats(docket: Docket) -> None:
    code, _, errors = await run_docket(
        "worker", *on(docket), "--heartbeat-interval", "0s", "--until-finished"
    )
    assert code == 2
    assert "heartbeat_interval and missed_heartbeats must be positive" in errors


async def test_a_worker_of_another_serializer_says_exactly_that(typed: Docket) -> None:
    execution = await typed.add(cli_tasks.greet)("Ann")

    code, output, _ = await run_docket_process("worker", *on(typed), *TASKS)

    said = "is msgpack, and this process reads pickle: whoever wrote it uses serializer='msgpack'"
    assert code == 0
    assert said in output
    assert "--serializer" in output
    await execution.sync()
    assert execution.state is ExecutionState.FAILED
    assert said in str(execution.error)


async def test_a_worker_of_msgpack_says_that_it_was_sent_a_pickle(docket: Docket) -> None:
    execution = await docket.add(cli_tasks.greet)("Ann")

    _, output, _ = await run_docket_process(
        "worker", *on(docket), *TASKS, "--serializer", "msgpack"
    )

    said = "is a pickle, and this process reads msgpack only: whoever wrote it uses serializer="
    assert said in output
    await execution.sync()
    assert said in str(execution.error)


async def test_a_storage_of_results_is_used(docket: Docket, tmp_path: Path) -> None:
    execution = await docket.add(cli_tasks.greet)("Ann")

    code, _, errors = await run_docket_process(
        "worker",
        *on(docket),
        *TASKS,
        "--docket-factory",
        FACTORIES + "stored",
        env={"STORED_RESULTS": str(tmp_path)},
    )

    assert (code, errors) == (0, "")
    (name,) = [each.name for each in tmp_path.iterdir()]  # noqa: ASYNC240
    assert bytes.fromhex(name).decode().startswith(execution.key)


async def test_a_task_that_is_added_is_of_the_serializer(typed: Docket) -> None:
    for given in (
        ("--serializer", "msgpack"),
        ("--docket-factory", FACTORIES + "msgpack"),
    ):
        code, output, errors = await run_docket("tasks", "fail", "Oh!", *on(typed), *given)
        assert (code, errors) == (0, "")
        key = output.split("'")[1]
        async with typed.redis() as redis:
            call = await redis.hget(typed.runs_key(key), "call")
        assert call is not None
        assert call.startswith(b"\xc1")


async def test_a_strike_that_needs_pickle_is_refused_under_msgpack(typed: Docket) -> None:
    arguments = ("strike", "greet", "name", "==", "fractions.Fraction:1/2", *on(typed))

    code, _, errors = await run_docket(*arguments, "--serializer", "msgpack")

    assert code == 1
    assert "A strike cannot hold Fraction(1, 2)" in errors
    assert (await run_docket(*arguments))[0] == 0


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (("--serializer", "json"), "'json' is not one of 'pickle', 'msgpack'"),
        (("--execution-ttl", "soon"), "a duration such as"),
        (("--missed-heartbeats", "0"), "not in the range"),
        (("--docket-factory", "nowhere:make"), "No module named 'nowhere'"),
        (("--docket-factory", FACTORIES + "no_docket"), "returned a str, not a Docket"),
        (("--docket-factory", FACTORIES + "broken"), "no such secret in the vault"),
        (("--docket-factory", FACTORIES + "other_url"), "another url"),
        (
            ("--docket-factory", FACTORIES + "msgpack", "--execution-ttl", "1h"),
            "--execution-ttl cannot be given beside --docket-factory",
        ),
    ],
)
@pytest.mark.parametrize("command", ["clear", "snapshot", "worker"])
async def test_a_setting_that_cannot_be_is_wrong_usage(
    server: str, command: str, given: tuple[str, ...], reason: str
) -> None:
    code, output, errors = await run_docket(command, "--url", server, *given)

    assert (code, output) == (2, "")
    assert reason in errors
    assert "s3cret" not in errors


async def test_an_empty_setting_is_none(docket: Docket) -> None:
    names = ("SERIALIZER", "EXECUTION_TTL", "HEARTBEAT_INTERVAL", "MISSED_HEARTBEATS", "FACTORY")
    environment = {f"DOCKET_{name}": "" for name in names}

    code, _, errors = await run_docket("clear", *on(docket), env=environment)

    assert (code, errors) == (0, "")


async def test_the_failure_of_a_task_arrives_in_the_serializer(typed: Docket) -> None:
    await run_docket("tasks", "fail", "Oh!", *on(typed), "--serializer", "msgpack")
    (waiting,) = (await typed.snapshot()).future

    await run_docket_process("worker", *on(typed), "--until-finished", "--serializer", "msgpack")

    assert isinstance(await failure_of(waiting), TaskError)


async def test_a_url_with_an_unknown_option_or_a_secret_is_told_without_it(docket: Docket) -> None:
    for url, reason in (
        ("redis://:s3cret@h?soket_timeout=5", "unknown option 'soket_timeout'"),
        ("redis://h?no_such=s3cret", "unknown option 'no_such'"),
        ("redis://h?s3cret=1", "unknown option '***'"),
        ("embedded:///p?password=s3cret", "'embedded:///p'"),
        ("embedded:///p?passw%6Frd=s3cret", "'embedded:///p'"),
    ):
        code, output, errors = await run_docket("clear", "--docket", docket.name, "--url", url)
        assert (code, output) == (2, "")
        assert reason in errors
        assert "s3cret" not in errors
