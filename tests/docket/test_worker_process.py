"""What a worker tells of its process: written, read, and refused where it is none of ours."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from docket.clock import from_microseconds
from docket.worker_process import MOST_BYTES, WorkerProcess, read

counts = st.integers(0, 2**31)
processes = st.builds(
    WorkerProcess,
    host=st.text(max_size=64),
    pid=counts,
    started_at=st.integers(0, 2**52).map(from_microseconds),
    lag_seconds=st.integers(0, 10_000).map(lambda ms: ms / 1000),
    concurrency=counts,
    rss_bytes=st.none() | st.integers(0, 2**53),
    version=st.none() | st.text(max_size=40),
    supervisor_pid=st.none() | counts,
    generation=st.none() | counts,
)
SOUND: dict[str, Any] = {"host": "a", "pid": 1, "started_at": 1, "lag": 0.5, "concurrency": 10}


@given(processes)
def test_what_is_written_is_read(process: WorkerProcess) -> None:
    packed = process.written()

    assert 0 < len(packed) <= MOST_BYTES
    assert read(packed) == process


def test_what_is_long_is_cut_or_not_told_at_all() -> None:
    sound = read(json.dumps(SOUND).encode())
    assert sound is not None
    named = structs.replace(sound, host="h" * 5_000)
    assert read(named.written()) == structs.replace(sound, host="h" * 128)
    assert structs.replace(sound, version="v" * 5_000).written() == b""


@pytest.mark.parametrize(
    "changed",
    [
        {"pid": -1},
        {"pid": "1"},
        {"pid": 10**30},
        {"host": ["a"]},
        {"host": "h" * 256},
        {"lag": -0.1},
        {"lag": 1e300},
        {"rss": 1.5},
        {"started_at": -1},
        {"started_at": 10**18},
        {"generation": True},
        {"version": {"a": {"b": []}}},
    ],
)
def test_a_field_that_is_none_of_ours_is_no_report(changed: dict[str, Any]) -> None:
    assert read(json.dumps(SOUND).encode()) is not None
    assert read(json.dumps({**SOUND, **changed}).encode()) is None


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"host": "\xff"}',
        b"[" * MOST_BYTES,
        json.dumps({**SOUND, "more": "x" * MOST_BYTES}).encode(),
    ],
)
def test_what_is_no_report_is_none(packed: bytes) -> None:
    assert read(packed) is None


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_anything_is_read_or_nothing(packed: bytes) -> None:
    assert read(packed) is None or isinstance(read(packed), WorkerProcess)


def test_what_later_versions_add_is_passed_over() -> None:
    assert read(json.dumps({**SOUND, "temperature": 40}).encode()) is not None
