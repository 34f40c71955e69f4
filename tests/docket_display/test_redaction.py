"""A URL as it is shown: nothing of it that is, or may be, a secret."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docket_display.redaction import without_password

SENTINELS = (
    "redis+sentinel://ann:pw@one:1,[::1]:2,three/main/4?sentinel_username=s&sentinel_password=t"
)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/2", "redis://h:1/2"),
        ("redis://ann:pw@h/2?password=x#y", "redis://ann:***@h/2"),
        ("redis://:pw@h", "redis://:***@h"),
        ("redis://token@h", "redis://***@h"),
        ("redis://ann:p@w@h", "redis://ann:***@h"),
        ("unix:///run/r.sock?password=pw", "unix:///run/r.sock"),
        ("memory://", "memory://"),
        ("redis://ann:pw/x@h/0", "redis://***"),
        ("redis://ann:pw?x@h", "redis://***"),
        ("redis://ann:pw#x@h", "redis://***"),
        ("redis://ann:pw/0", "redis://***/0"),
        ("redis://:pw", "redis://***"),
        ("ann:pw@h:1", "***"),
        ("unix:///run/a@b.sock", "unix:///run/a@b.sock"),
        (SENTINELS, "redis+sentinel://ann:***@one:1,[::1]:2,three/main/4"),
        ("redis+cluster://:pw@[::1]:1,two", "redis+cluster://:***@[::1]:1,two"),
        ("redis://:secret@host:1/0", "redis://:***@host:1/0"),
        ("redis://me:secret@host", "redis://me:***@host"),
        ("redis+sentinel://a:1,b:2/m/0", "redis+sentinel://a:1,b:2/m/0"),
        ("memory://orders", "memory://orders"),
        ("embedded:///data", "embedded:///data"),
        ("unix:///run/v.sock", "unix:///run/v.sock"),
        ("redis://[::1/0", "redis://***/0"),
        ("redis://h/0?passw%6Frd=pw", "redis://h/0"),
        ("redis://h/0?pass=pw&db=1", "redis://h/0"),
        ("redis://h?auth_token=pw", "redis://h"),
        ("redis://h#pw", "redis://h"),
        ("embedded:///data?password=pw", "embedded:///data"),
        ("embedded:///data?passw%6Frd=pw", "embedded:///data"),
        ("memory://orders?pass=pw", "memory://orders"),
        ("unix:///run/v.sock?password=p@w", "unix:///run/v.sock"),
        ("redis://ann:p/w", "redis://***"),
        ("pw@redis://h", "***"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert without_password(url) == shown


@given(
    name=st.sampled_from(["password", "passw%6Frd", "pass", "pwd", "token", "sentinel_password"]),
    start=st.sampled_from(["redis://h:1/0", "rediss+cluster://a,b", "embedded:///p", "unix:///p"]),
    before=st.sampled_from(["?", "?db=1&", "?db=1;", "?&", "#", "?%26"]),
)
def test_nothing_of_a_query_is_shown_whatever_its_names(name: str, start: str, before: str) -> None:
    assert without_password(f"{start}{before}{name}=s3cret") == start


def test_it_brings_nothing_along() -> None:
    program = (
        "import sys; import docket_display.redaction; "
        "print(sorted({'docket', 'redis', 'supervisor', 'msgspec'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"
