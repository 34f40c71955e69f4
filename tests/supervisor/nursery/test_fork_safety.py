"""What an import leaves behind that must not be forked."""

import _thread
import asyncio
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from supervisor.nursery.fork_safety import (
    NAMELESS,
    Connection,
    Snapshot,
    Verdict,
    judge,
    not_carried_over,
    raw_threads_noted,
    take_snapshot,
)
from tests.support.servers import until

REDIS = Connection(5, 77, "10.0.0.1:6379")


def test_an_import_that_leaves_nothing_behind_is_safe() -> None:
    same = Snapshot(
        frozenset({REDIS}), frozenset({6}), frozenset({(1, "old")}), frozenset({(2, "blas")})
    )

    assert judge(same, same) == Verdict([], [])


def test_a_connection_and_a_thread_are_reasons_with_their_names() -> None:
    threads = frozenset({(8, "sender"), (9, "exporter")})
    after = Snapshot(frozenset({REDIS}), frozenset({6}), threads)

    assert judge(Snapshot(), after).reasons == [
        "an open connection (descriptor 5) to 10.0.0.1:6379",
        "an event loop made at import (descriptor 6 is its epoll)",
        "a running thread, 'exporter'",
        "a running thread, 'sender'",
    ]


def test_native_threads_are_noted_once_a_name() -> None:
    after = Snapshot(native=frozenset({(8, "blas"), (9, "blas")}))

    assert judge(Snapshot(), after) == Verdict([], ["blas"])


def test_another_connection_under_an_old_number_is_seen() -> None:
    before = Snapshot(frozenset({REDIS}))
    after = Snapshot(frozenset({Connection(5, 78, "10.0.0.2:5432")}))

    assert judge(before, after).reasons == ["an open connection (descriptor 5) to 10.0.0.2:5432"]


def new_connections(before: Snapshot) -> list[str]:
    return sorted(
        connection.peer for connection in take_snapshot().connections - before.connections
    )


def test_a_connection_is_seen_by_its_peer_and_a_listener_is_not_one() -> None:
    before = take_snapshot()
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as client,
    ):
        peers = new_connections(before)

        assert peers == [f"127.0.0.1:{listening.getsockname()[1]}"]
        client.sendall(b"it is still usable")
    assert new_connections(before) == []


def test_unix_sockets_are_distinguished(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    before = take_snapshot()
    with (
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as to_named,
        socket.socket(socket.AF_UNIX) as to_abstract,
    ):
        named.bind(path)
        abstract.bind(f"\0{path}")
        named.listen()
        abstract.listen()
        to_named.connect(path)
        to_abstract.connect(f"\0{path}")

        assert new_connections(before) == sorted([path, f"@{path}"])


def test_a_socket_pair_is_reported_as_that_of_a_loop() -> None:
    before = take_snapshot()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert set(new_connections(before)) == {
            "a socket pair (an event loop made at import has one)"
        }


@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_loop_is_seen_by_its_epoll_until_it_is_closed(
    make: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    before = take_snapshot()
    loop = make()
    try:
        assert len(take_snapshot().pollers - before.pollers) == 1
    finally:
        loop.close()
    assert take_snapshot().pollers == before.pollers


def test_looking_leaves_no_descriptor_open() -> None:
    before = {entry.name for entry in Path("/proc/self/fd").iterdir()}

    take_snapshot()

    assert {entry.name for entry in Path("/proc/self/fd").iterdir()} == before


def test_threads_are_seen_even_when_threading_does_not_know_them() -> None:
    release = threading.Event()
    begun = threading.Semaphore(0)

    def work() -> None:
        begun.release()
        release.wait()

    before = take_snapshot()
    thread = threading.Thread(target=work, name="known")
    thread.start()
    _thread.start_new_thread(work, ())
    begun.acquire()
    begun.acquire()

    names = sorted(name for _, name in take_snapshot().threads - before.threads)

    release.set()
    thread.join()
    assert names == ["a thread without a name", "known"]


def test_a_raw_thread_is_seen_before_it_has_had_its_first_turn() -> None:
    release = _thread.allocate_lock()
    release.acquire()
    before = take_snapshot()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)  # this thread keeps its turn
    try:
        with raw_threads_noted():
            _thread.start_new_thread(release.acquire, ())
            found = {name for _, name in take_snapshot().threads - before.threads}
    finally:
        sys.setswitchinterval(interval)
        release.release()
    assert found == {NAMELESS}


def test_a_raw_thread_that_was_noted_gets_its_arguments_and_is_forgotten_at_its_end() -> None:
    before, ended, got = take_snapshot(), threading.Event(), list[object]()

    def work(*args: object, **kwargs: object) -> None:
        got.extend((args, kwargs))
        ended.set()

    original = _thread.start_new_thread
    with raw_threads_noted():
        _thread.start_new_thread(work, (1, 2), {"three": 3})
        with pytest.raises(TypeError):
            _thread.start_new_thread()  # type: ignore[call-arg]
    assert _thread.start_new_thread is original
    assert ended.wait(20)
    until(lambda: take_snapshot().threads == before.threads, "its end")
    assert got == [(1, 2), {"three": 3}]


def test_what_the_start_made_and_a_fork_cannot_have_is_named_without_our_own() -> None:
    ours = Connection(3, 70, "a socket pair")
    threads = frozenset({(8, "apm-agent"), (9, "over by now")})
    at_start = Snapshot(frozenset({REDIS, ours}), frozenset({6}), threads)
    now = Snapshot(frozenset({REDIS, ours}), frozenset({6}), frozenset({(8, "apm-agent")}))
    assert not_carried_over(at_start, now, frozenset({3})) == [
        "an open connection (descriptor 5) to 10.0.0.1:6379",
        "an event loop made before it (descriptor 6 is its epoll)",
        "a running thread, 'apm-agent'",
    ]
    assert not_carried_over(Snapshot(), now, frozenset()) == []
