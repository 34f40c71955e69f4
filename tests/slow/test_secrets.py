"""No password is ever told: the real program with one in its URL, and all that others see of it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from tests.support.parameters import in_full
from tests.support.servers import Process, machinery, valkey
from tests.support.supervised import Program, supervised

pytestmark = [pytest.mark.timeout(150), pytest.mark.long]

#: As it is, and as a URL writes it.
SECRET, WRITTEN = "s3cr/et@P", "s3cr%2Fet%40P"
#: No part of it either, as of a URL that was cut at the wrong place.
TELLTALE = ("s3cr", "et@P", "et%40P")


@pytest.fixture
def guarded() -> Iterator[Process]:
    """A server that wants the password."""
    with machinery() as machines:
        server = machines.server(valkey())
        server.client.config_set("requirepass", SECRET)
        server.client.close()
        server.client = redis.Redis(port=server.port, password=SECRET, protocol=2)
        yield server


def given(url: str, **rest: Any) -> Program:
    """The URL in the environment: it is the user's own to put it on the command line."""
    program = supervised(
        "--boot-timeout", "3s", "--drain-timeout", "1s", "--logging-level", "DEBUG", **rest
    )
    at = program.arguments.index("--url")
    arguments = (*program.arguments[:at], *program.arguments[at + 2 :])
    return Program(arguments, {"DOCKET_SUPERVISOR_URL": url})


def tells(text: str) -> list[str]:
    """The lines in which the secret is."""
    return [line for line in text.splitlines() if any(part in line for part in TELLTALE)]


def command_lines(program: Program) -> str:
    """What everybody on the machine can read of its processes."""
    shown: list[str] = []
    for process in [psutil.Process(program.process.pid), *program.family()]:
        shown += process.cmdline()
        shown.append(process.name())
        shown.append(Path(f"/proc/{process.pid}/comm").read_text())
    return "\n".join(shown)


def test_a_pool_through_all_that_happens_to_it_tells_no_password(guarded: Process) -> None:
    url = f"redis://:{WRITTEN}@127.0.0.1:{guarded.port}/0"
    with given(url) as pool:
        pool.wait_for("pool ready")
        seen = [command_lines(pool), pool.get("/status")[1], pool.get("/metrics")[1]]
        pool.send(signal.SIGUSR1)
        pool.wait_for("stacks|Task")
        pool.send(signal.SIGHUP)
        pool.wait_for("generation 2")
        os.kill(next(iter(pool.workers_ready())), signal.SIGABRT)  # with a dump of faulthandler
        pool.wait_for("SIGABRT")
        pool.until(lambda: len(pool.workers()) == 2, "two workers again")
        guarded.client.config_set("requirepass", "another")
        guarded.client.client_kill_filter(_type="normal", skipme=True)
        pool.wait_for("user or password of the URL")
        guarded.kill()
        pool.until(lambda: pool.get("/readyz")[0] == 503, "not ready")
        seen += [pool.get(path)[1] for path in ("/readyz", "/status", "/metrics")]
        seen.append(_ctl_status(pool))
        pool.send(signal.SIGTERM)
        pool.code()
        assert tells(pool.log) == []
        assert tells("\n".join(seen)) == []


def _ctl_status(pool: Program) -> str:
    path = pool.wait_for(r"control socket: (\S+)")[1]
    with Program(("ctl", "--control", path, "status", "--json"), environment={}) as ctl:
        ctl.code()
        return ctl.log


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{WRITTEN}@127.0.0.1:1/0",
        f"redis://ann:{WRITTEN}@127.0.0.1:1/0",
        f"redis+cluster://:{WRITTEN}@127.0.0.1:1,127.0.0.1:2",
        f"redis+sentinel://127.0.0.1:1/main?sentinel_password={WRITTEN}",
        f"redis://ann:{SECRET}@127.0.0.1:1/0",
        f"ann:{WRITTEN}@127.0.0.1",
        *in_full(
            f"redis://127.0.0.1:1/0?username=ann&password={WRITTEN}",
            f"rediss://:{WRITTEN}@127.0.0.1:1/0",
            f"unix:///tmp/not-there.sock?password={WRITTEN}",
            f"redis://:{SECRET}",
            f"redis://ann:{SECRET}@127.0.0.1:port/0",
            f"http://ann:{WRITTEN}@127.0.0.1",
        ),
    ],
)
def test_a_pool_that_cannot_start_tells_no_password(url: str) -> None:
    with given(url, processes=1) as pool:
        assert pool.code() in (2, 3)
        assert tells(pool.log) == []
        assert pool.lines


def test_only_the_environment_that_the_user_set_has_it(guarded: Process) -> None:
    url = f"redis://:{WRITTEN}@127.0.0.1:{guarded.port}/0"
    with given(url, processes=1) as pool:
        pool.wait_for("pool ready")
        for process in [psutil.Process(pool.process.pid), *pool.family()]:
            telling = {name for name, value in process.environ().items() if tells(value)}
            assert telling <= {"DOCKET_SUPERVISOR_URL"}
        assert pool.end() == 0


def test_a_password_from_a_file_is_in_no_environment_at_all(
    guarded: Process, tmp_path: Path
) -> None:
    file = tmp_path / "pool.toml"
    file.write_text(f'url = "redis://:{WRITTEN}@127.0.0.1:{guarded.port}/0"\n')
    file.chmod(0o600)
    program = given("", processes=1)
    with Program((*program.arguments, "--config", str(file)), environment={}) as pool:
        pool.wait_for("pool ready")
        for process in [psutil.Process(pool.process.pid), *pool.family()]:
            assert not [value for value in process.environ().values() if tells(value)]
        assert tells(command_lines(pool)) == []
        assert pool.end() == 0
        assert tells(pool.log) == []
