"""The process and the user at the other end of a Unix socket."""

import os
import socket
import struct

import pytest

from supervisor.control import peer_credentials
from supervisor.control.peer_credentials import Credentials, credentials_of, of_macos


class FakeMac:
    """A socket of macOS, which answers with a struct xucred."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        assert (level, optname, buflen) == (0, 1, 76)
        return struct.pack("IIh16I", 0, 501, 1, *[20] * 16)


def test_a_peer_is_known_by_its_process_and_its_user() -> None:
    here, there = socket.socketpair()
    with here, there:
        assert credentials_of(here) == Credentials(os.getpid(), os.geteuid())


def test_on_macos_the_user_is_known() -> None:
    assert of_macos(FakeMac()) == Credentials(None, 501)


@pytest.mark.parametrize(
    ("uid", "trusted"), [(1000, True), (0, True), (1001, False), (65534, False), (None, False)]
)
def test_only_the_same_user_and_root_are_trusted(
    uid: int | None, trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_credentials.os, "geteuid", lambda: 1000)
    assert Credentials(1, uid).is_trusted is trusted


def test_credentials_are_readable_in_a_log_line() -> None:
    assert str(Credentials(12, 1000)) == "a client (pid 12, uid 1000)"
