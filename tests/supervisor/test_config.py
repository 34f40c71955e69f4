"""What cannot work is refused by the config itself, with the name of the option."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from docket.store.connection.urls import validate_url
from supervisor.config import Address, SupervisorConfig, usable_cpus
from supervisor.errors import InvalidOption


def test_the_defaults_are_those_of_the_operators_contract() -> None:
    config = SupervisorConfig()
    assert config.processes == usable_cpus()
    assert config.tasks == ("docket.tasks:standard_tasks",)
    assert (config.docket, config.url) == ("docket", "redis://localhost:6379/0")
    assert config.boot_timeout == config.drain_timeout == timedelta(seconds=30)
    assert config.stall_warning == timedelta(seconds=5)
    assert config.stall_timeout == config.restart_window == timedelta(seconds=60)
    assert config.restarts_allowed == 10 * config.processes
    assert (config.max_deliveries, config.http, config.preload) == (3, None, True)


def test_a_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SupervisorConfig().processes = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"processes": 0}, "--processes"),
        ({"processes": 5000}, "--processes"),
        ({"concurrency": 0}, "--concurrency"),
        ({"concurrency": 10**20}, "--concurrency"),
        ({"message_batch": 0}, "--message-batch"),
        ({"max_deliveries": 0}, "--max-deliveries"),
        ({"max_restarts": -1}, "--max-restarts"),
        ({"max_restarts": 10**20}, "--max-restarts"),
        ({"boot_timeout": timedelta(0)}, "--boot-timeout"),
        ({"drain_timeout": timedelta(seconds=-1)}, "--drain-timeout"),
        ({"stall_warning": timedelta(milliseconds=10)}, "--stall-warning"),
        ({"stall_timeout": timedelta(seconds=2)}, "--stall-timeout"),
        ({"docket": ""}, "--docket"),
        ({"docket": "a{b"}, "--docket"),
        ({"tasks": ()}, "--tasks"),
        ({"tasks": ("shop.tasks",)}, "--tasks"),
        ({"tasks": ("shop-tasks:all",)}, "--tasks"),
        ({"fallback_task": "nothing"}, "--fallback-task"),
        ({"dependencies": ":"}, "--dependencies"),
        ({"logging_level": "LOUD"}, "--logging-level"),
        ({"logging_format": "xml"}, "--logging-format"),
    ],
)
def test_a_value_outside_of_what_is_accepted_is_refused(
    values: dict[str, Any], option: str
) -> None:
    with pytest.raises(InvalidOption) as refused:
        SupervisorConfig(**values)
    assert refused.value.option == option
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/0",
        "rediss://user:secret@host/1?ssl_cert_reqs=none",
        "unix:///run/valkey.sock",
        "unix://user@/run/valkey.sock?db=1",
        "valkey://host",
        "redis+cluster://a:1,b:2",
        "redis+sentinel://a:26379,b:26379/master/0",
        "memory://",
        "memory://orders",
        "embedded:///var/lib/orders",
    ],
)
def test_the_forms_of_a_url_are_accepted(url: str) -> None:
    assert SupervisorConfig(url=url).is_embedded is url.startswith(("memory", "embedded"))


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://:secret@host",
        "redis://host:port/0",
        "redis://[::1/0",
        "embedded://relative/path",
        "unix://run/valkey.sock",
    ],
)
def test_another_url_is_refused_and_its_password_not_shown(url: str) -> None:
    with pytest.raises(InvalidOption, match="--url: got") as refused:
        SupervisorConfig(url=url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:secret@host:99999/0", "a port from 0 to 65535"),
        ("redis://:secret@host/orders", "the number of a database, as in redis://"),
        ("valkeys://:secret@host/0/1", "the number of a database"),
        ("redis+cluster://:secret@a:1,b:2/1", "no database but 0 of a cluster"),
        ("redis+sentinel://:secret@a:1,b:2", "the name of the primary"),
        ("rediss+sentinel://:secret@a:1,b:2/primary/x", "the name of the primary"),
    ],
)
def test_an_error_in_a_url_is_reported_before_any_worker_reads_it(url: str, expected: str) -> None:
    with pytest.raises(ValueError, match="Accepted"):
        validate_url(url)
    with pytest.raises(InvalidOption, match=f"expected {expected}") as refused:
        SupervisorConfig(url=url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://host/",
        "redis://host:0",
        "valkeys://host:1/15?socket_timeout=3",
        "redis+cluster://a:1,b:2/0",
        "redis+cluster://a:1,b:2/",
        "redis+sentinel://a:1,b:2/primary/",
        "redis+sentinel://u:p@a:1,b:2/primary/3?ssl=true",
    ],
)
def test_what_docket_can_read_is_accepted(url: str) -> None:
    validate_url(url)
    assert SupervisorConfig(url=url).url == url


def test_restarts_are_allowed_as_configured() -> None:
    assert SupervisorConfig(max_restarts=0).restarts_allowed == 0


def test_an_address_of_ipv6_is_shown_in_brackets() -> None:
    assert str(Address("::1", 80)) == "[::1]:80"
    assert str(Address("127.0.0.1", 80)) == "127.0.0.1:80"


NO_UTF8 = "caf\udce9"  # what Python makes of the byte E9


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"docket": NO_UTF8}, "--docket"),
        ({"url": f"redis://{NO_UTF8}/0"}, "--url"),
        ({"url": f"embedded:///{NO_UTF8}"}, "--url"),
        ({"tasks": ("jobs:tasks", f"{NO_UTF8}:tasks")}, "--tasks"),
        ({"fallback_task": f"{NO_UTF8}:f"}, "--fallback-task"),
        ({"http": Address(NO_UTF8, 80)}, "--http"),
        ({"logging_level": NO_UTF8}, "--logging-level"),
    ],
)
def test_bytes_that_are_no_utf8_are_refused_by_the_name_of_their_option(
    values: dict[str, Any], option: str
) -> None:
    with pytest.raises(InvalidOption, match=r"expected text in UTF-8") as refused:
        SupervisorConfig(**values)
    assert refused.value.option == option
    str(refused.value).encode()  # can be written


def test_a_password_that_is_no_utf8_is_not_shown() -> None:
    with pytest.raises(InvalidOption) as refused:
        SupervisorConfig(url=f"redis://me:{NO_UTF8}@host/0")
    assert "udce9" not in str(refused.value)


def test_the_control_socket_may_have_any_name() -> None:
    assert SupervisorConfig(control=f"/run/{NO_UTF8}").control == f"/run/{NO_UTF8}"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"serializer": "json"}, "--serializer: got 'json', expected one of pickle, msgpack"),
        ({"missed_heartbeats": 0}, "--missed-heartbeats: got 0"),
        ({"heartbeat_interval": timedelta(0)}, "--heartbeat-interval: got '0s'"),
        ({"heartbeat_interval": timedelta(milliseconds=500)}, "--heartbeat-interval: got '2.5s'"),
        ({"missed_heartbeats": 2}, "--missed-heartbeats: got '4s', expected at least 5s of"),
        ({"execution_ttl": timedelta(seconds=-1)}, "--execution-ttl: got '-1s'"),
        ({"docket_factory": "factories"}, "--docket-factory: got 'factories'"),
    ],
)
def test_a_setting_of_the_docket_is_checked_before_any_worker_has_it(
    given: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidOption, match=reason):
        SupervisorConfig(**given)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("serializer", "pickle", "'pickle'"),
        ("execution_ttl", timedelta(days=1), "'86400s'"),
        ("heartbeat_interval", timedelta(seconds=2), "'2s'"),
        ("missed_heartbeats", 5, "5"),
    ],
)
def test_what_a_factory_decides_is_not_given_beside_it(name: str, value: Any, shown: str) -> None:
    option = "--" + name.replace("_", "-")
    reason = f"{option}: got {shown}, expected nothing beside --docket-factory"
    with pytest.raises(InvalidOption, match=reason):
        SupervisorConfig(docket_factory="factories:make", **{name: value})
    assert SupervisorConfig(**{name: value}) != SupervisorConfig()
