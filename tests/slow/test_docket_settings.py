"""The real program with a docket that is not as by default, seen by a service of that docket."""

from datetime import timedelta

import pytest

from docket import Docket
from docket.errors import TaskError
from tests.support import pool_tasks
from tests.support.dockets import failure_of, knowing, result_of
from tests.support.parameters import in_full
from tests.support.supervised import ready_pool, supervised

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]

FACTORY = "tests.support.docket_factories:msgpack"


def service(url: str) -> Docket:
    docket = Docket("d", url, serializer="msgpack", execution_ttl=timedelta(days=1))
    return knowing(docket, [pool_tasks.add])


@pytest.mark.parametrize("way", ["factory", *in_full("options")])
async def test_a_pool_works_for_a_service_of_msgpack(way: str) -> None:
    given = {
        "options": ("--serializer", "msgpack", "--execution-ttl", "1d", "--missed-heartbeats", "9"),
        "factory": ("--docket-factory", FACTORY),
    }[way]
    with ready_pool(*given) as pool:
        async with service(pool.url) as docket, docket.redis() as redis:
            execution = await docket.add(pool_tasks.add)(1, 2)

            assert await result_of(execution) == 3
            assert await redis.ttl(docket.runs_key(execution.key)) > 80_000
        assert pool.end() == 0


async def test_a_pool_of_another_serializer_says_exactly_that() -> None:
    with ready_pool() as pool:
        async with service(pool.url) as docket:
            execution = await docket.add(pool_tasks.add)(1, 2)

            pool.wait_for("is msgpack, and this process reads pickle: whoever wrote it uses")
            failure = await failure_of(execution)
        assert not isinstance(failure, TaskError)
        assert pool.end() == 0


def test_a_factory_that_is_none_ends_the_start_with_its_reason() -> None:
    with supervised("--docket-factory", "tests.support.docket_factories:broken") as pool:
        assert pool.code() == 3
        assert "no such secret in the vault" in pool.lines[-1]


def test_a_conflict_is_wrong_usage_by_the_name_that_it_was_given_by() -> None:
    environment = {"DOCKET_SERIALIZER": "msgpack"}
    with supervised("--docket-factory", FACTORY, environment=environment) as pool:
        assert pool.code() == 2
        assert pool.lines[-1] == (
            "docket-supervisor: DOCKET_SERIALIZER: got 'msgpack', expected nothing beside "
            "--docket-factory, which decides it"
        )


def test_an_unknown_option_of_the_url_is_named_and_its_value_not() -> None:
    with supervised(url="redis://:s3cret@127.0.0.1:1/0?soket_timeout=s3cret") as pool:
        assert pool.code() == 3
        assert "unknown option 'soket_timeout'; did you mean 'socket_timeout'?" in pool.lines[-1]
        assert "s3cret" not in pool.log
