"""Which program is started as the embedded server, and how it is told to allocate."""

import errno
import importlib.util
import os
from pathlib import Path

import pytest
import redis

from docket.errors import EmbeddedServerError
from docket.store.embedded import embedded_server, home

OURS = "glibc.malloc.mxfast=0:glibc.malloc.tcache_count=500"


@pytest.mark.parametrize(
    ("version", "ones_own", "expected"),
    [
        ("glibc 2.36", None, OURS),
        ("glibc 2.31", None, OURS),
        ("glibc 2.36", "glibc.malloc.mxfast=64", "glibc.malloc.mxfast=64"),
        ("glibc 2.28", None, ""),
        (None, None, ""),
        (ValueError("unrecognized configuration name"), None, ""),
        (OSError(errno.EINVAL, "musl knows the name and no value"), None, ""),
    ],
)
def test_how_the_server_allocates_is_set_where_that_is_known_unless_the_user_has(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    version: str | Exception | None,
    ones_own: str | None,
    expected: str,
) -> None:
    def confstr(name: str) -> str | None:
        assert name == "CS_GNU_LIBC_VERSION"
        if isinstance(version, Exception):
            raise version
        return version

    monkeypatch.setattr(os, "confstr", confstr)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if ones_own is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", ones_own)
    # Asked of who is executed: the server overwrites its environment with its title.
    told = tmp_path / "told"
    program = program_that(tmp_path, f'printf %s "$GLIBC_TUNABLES" > {told}')
    monkeypatch.setenv("DOCKET_EMBEDDED_SERVER", str(program))
    embedded_server.start("memory://").stop()
    assert told.read_text() == expected


@pytest.mark.parametrize("program", ["valkey-server", "/nowhere/valkey-server", "/", "/etc/passwd"])
def test_a_server_of_ones_own_that_is_no_program_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setenv("DOCKET_EMBEDDED_SERVER", program)
    with pytest.raises(EmbeddedServerError, match=f"DOCKET_EMBEDDED_SERVER is '{program}'"):
        embedded_server.start("memory://")


def test_a_server_of_ones_own_needs_no_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = program_that(tmp_path, ":")
    monkeypatch.setenv("DOCKET_EMBEDDED_SERVER", str(program))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    running = embedded_server.start("memory://ones-own")
    try:
        redis.Redis.from_url(running.url).ping()
    finally:
        running.stop()


def program_that(folder: Path, does: str) -> Path:
    """Becomes the server that would have been started, after it has done what a shell is told."""
    program = folder / "a-server"
    server = home.server_binary("memory://")
    program.write_text(f'#!/bin/sh\n{does}\nexec {server} "$@"\n')
    program.chmod(0o755)
    return program
