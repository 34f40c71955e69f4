"""The docket of a program: from its options, or from a factory of the user's."""

import traceback
from datetime import timedelta

import pytest

from docket import Docket
from docket.loading import load_attribute
from docket.options import DocketOptions
from tests.support import docket_factories

pytestmark = pytest.mark.anyio

FACTORIES = "tests.support.docket_factories:"


def options(factory: str | None = None, **others: object) -> DocketOptions:
    path = None if factory is None else FACTORIES + factory
    return DocketOptions(name="d", url="redis://h", factory=path, **others)  # type: ignore[arg-type]


def test_what_is_not_given_is_as_docket_has_it() -> None:
    made, plain = options().make(load_attribute), Docket("d", "redis://h")
    for name in ("name", "url", "execution_ttl", "heartbeat_interval", "missed_heartbeats"):
        assert getattr(made, name) == getattr(plain, name)
    assert type(made.serializer) is type(plain.serializer)


def test_what_is_given_is_the_dockets() -> None:
    made = options(
        serializer="msgpack",
        execution_ttl=timedelta(0),
        heartbeat_interval=timedelta(seconds=1),
        missed_heartbeats=9,
    ).make(load_attribute)
    assert type(made.serializer).__name__ == "MsgpackCodec"
    assert made.execution_ttl == timedelta(0)
    assert made.heartbeat_interval == timedelta(seconds=1)
    assert made.missed_heartbeats == 9


def test_a_factory_makes_the_docket_of_that_name_on_that_server() -> None:
    made = options("msgpack").make(load_attribute)
    assert (made.name, made.url, made.is_open) == ("d", "redis://h", False)
    assert made.execution_ttl == timedelta(days=1)


@pytest.mark.parametrize(
    ("factory", "error", "reason"),
    [
        ("no_docket", TypeError, "'.*:no_docket' returned a str, not a Docket"),
        ("awaited", TypeError, "returned a coroutine, not a Docket"),
        ("other_name", ValueError, "another name .*: pass name=name on to Docket"),
        ("other_url", ValueError, "another url .*: pass url=url on to Docket"),
        ("no_function", TypeError, "'.*:no_function' is a int, not a function"),
        ("without_arguments", TypeError, "unexpected keyword argument"),
        ("broken", LookupError, "no such secret"),
        ("missing", AttributeError, "missing"),
    ],
)
def test_what_is_no_factory_is_refused(factory: str, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason) as refused:
        options(factory).make(load_attribute)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("telling", "LookupError: nothing at redis://ann:***@h/0"),
        ("telling_in_the_end", "SystemExit: nothing at redis://ann:***@h/0"),
        ("telling_its_cause", "LookupError: no docket"),
        ("telling_its_password", "LookupError: wrong: ***"),
    ],
)
def test_the_error_of_a_factory_shows_no_secret_of_the_url(factory: str, reason: str) -> None:
    path = FACTORIES + factory
    url = "redis://ann:s3cr%2Ft@h/0?password=hidden"
    with pytest.raises(RuntimeError) as raised:
        DocketOptions(name="d", url=url, factory=path).make(load_attribute)

    shown = "".join(traceback.format_exception(raised.value))
    assert f"'{path}' raised {reason} ({docket_factories.__file__}, line " in shown
    assert not [secret for secret in ("s3cr%2Ft", "s3cr/t", "hidden") if secret in shown]


async def test_a_docket_that_is_open_is_refused(server: str, docket_name: str) -> None:
    async with Docket(docket_name, server) as opened:
        chosen = DocketOptions(name=docket_name, url=server, factory="a:b")
        with pytest.raises(ValueError, match="returned an open docket"):
            chosen.make(lambda _: lambda name, url: opened)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("serializer", "pickle"),
        ("execution_ttl", timedelta(minutes=15)),
        ("heartbeat_interval", timedelta(seconds=2)),
        ("missed_heartbeats", 5),
    ],
)
def test_what_a_factory_decides_is_not_given_beside_it(name: str, value: object) -> None:
    option = "--" + name.replace("_", "-")
    with pytest.raises(ValueError, match=f"{option} cannot be given beside --docket-factory"):
        options("msgpack", **{name: value}).make(load_attribute)


def test_a_factory_is_called_with_names() -> None:
    assert docket_factories.msgpack(name="d", url="redis://h").name == "d"


def test_the_password_of_the_url_is_not_in_the_options_as_shown() -> None:
    assert "secret" not in repr(DocketOptions(name="d", url="redis://:secret@h/0"))
