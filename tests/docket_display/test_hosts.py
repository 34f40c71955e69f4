"""The names under which an endpoint may be asked."""

import pytest

from docket_display.hosts import AllowedHosts


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:80",
        "localhost.:80",
        "localhost:",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:8080",
        "pool.internal",
        "Pool.Internal:443",
    ],
)
def test_addresses_this_machine_and_the_names_given_are_allowed(host: str) -> None:
    assert AllowedHosts(["pool.internal:9000"]).allow([host])


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "localhost.example.com",
        "localhost:80@example.com",
        "localhost:example.com",
        "localhost:８０",
        "[::1]@example.com",
        "[::1]:80@example.com",
        "pool.internal:x",
        "",
    ],
)
def test_any_other_name_is_refused(host: str) -> None:
    assert not AllowedHosts(["pool.internal"]).allow([host])
    assert not AllowedHosts(["pool.internal"]).allow(["localhost", host])


def test_a_star_allows_every_name() -> None:
    assert AllowedHosts(["*"]).allow(["example.com"])
