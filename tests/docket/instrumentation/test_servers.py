"""The ports for probes and scrapers."""

import contextlib
import socket
import threading
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any

import pytest

from docket.errors import DocketError
from docket.instrumentation import healthcheck_server, http_server, metrics_server
from docket.instrumentation.http_server import MAX_CONNECTIONS, Answer, CannotListen, serving
from tests.support.scrapes import fetch


def answer() -> Answer:
    return Answer(HTTPStatus.OK, b"fine")


SERVERS = pytest.mark.parametrize("server", [healthcheck_server, metrics_server])


def test_without_a_port_nothing_is_served() -> None:
    with healthcheck_server() as health, metrics_server() as metrics:
        assert (health, metrics) == (None, None)
    with healthcheck_server("127.0.0.1") as health, metrics_server("127.0.0.1", None) as metrics:
        assert (health, metrics) == (None, None)


@pytest.mark.statement(51)
@SERVERS
@pytest.mark.parametrize(
    ("address", "named"),
    [
        (("127.0.0.1", 0), {}),
        ((0, "127.0.0.1"), {}),
        (("127.0.0.1",), {"port": 0}),
        ((0,), {"host": "127.0.0.1"}),
        ((), {"host": "127.0.0.1", "port": 0}),
        ((0,), {}),
    ],
    ids=str,
)
def test_host_and_port_come_in_either_order(
    server: Any, address: tuple[Any, ...], named: dict[str, Any]
) -> None:
    with server(*address, **named) as port:
        assert fetch(port)[0] in (200, 503)


@pytest.mark.statement(51)
@SERVERS
def test_two_hosts_or_two_ports_are_refused(server: Any) -> None:
    for hosts, named in ((("one", "two"), {}), (("two",), {"host": "one"})):
        with pytest.raises(TypeError, match="two values for the host: 'one' and 'two'"):
            server(*hosts, **named)
    with pytest.raises(TypeError, match="two values for the port: 1 and 2"):
        server(2, port=1)


def test_a_process_without_a_worker_is_not_healthy() -> None:
    with healthcheck_server(0, host="127.0.0.1") as port:
        assert port is not None
        assert fetch(port) == (503, "no worker runs in this process")


def test_every_path_is_answered_while_the_context_lasts() -> None:
    with serving("tests", "127.0.0.1", 0, answer) as port:
        assert fetch(port) == (200, "fine")
        assert fetch(port, "/healthz?verbose") == (200, "fine")
        assert fetch(port, "/", "HEAD") == (200, "")
        assert fetch(port, "/", "POST")[0] == 501

    with pytest.raises(OSError, match="refused"):
        fetch(port)


def test_an_answer_that_cannot_be_made_is_an_error_of_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken() -> Answer:
        raise RuntimeError("no answer")

    with serving("tests", "127.0.0.1", 0, broken) as port:
        assert fetch(port) == (500, "see the log\n")

    assert "no answer" in caplog.text


def test_a_client_that_says_nothing_keeps_nobody_else_waiting() -> None:
    with (
        serving("tests", "127.0.0.1", 0, answer) as port,
        socket.create_connection(("127.0.0.1", port)),
    ):
        assert fetch(port) == (200, "fine")


@SERVERS
def test_a_port_that_is_taken_is_told(server: Any) -> None:
    with (
        serving("tests", "127.0.0.1", 0, answer) as port,
        pytest.raises(CannotListen) as raised,
        server(port, host="127.0.0.1"),
    ):
        pass

    assert isinstance(raised.value, OSError)
    assert isinstance(raised.value, DocketError)
    assert f"on 127.0.0.1:{port}: " in str(raised.value)


def test_a_port_that_cannot_be_is_told() -> None:
    with pytest.raises(CannotListen, match="70000"), metrics_server(70000):
        pass


def asked(port: int, host: str, path: str = "/metrics") -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        return response.status, response.read()


def test_metrics_are_told_under_a_name_or_an_address_that_is_ours() -> None:
    with metrics_server("127.0.0.1", 0, allowed_hosts=["pool.example"]) as port:
        assert port is not None
        for host in ("127.0.0.1", f"localhost:{port}", "[::1]:80", "10.1.2.3", "POOL.example."):
            assert asked(port, host)[0] == 200
        status, body = asked(port, "evil.example")
        assert (status, b"--http-allow-host" in body, b"docket_" in body) == (421, True, False)
    with metrics_server("127.0.0.1", 0, allowed_hosts=["*"]) as port:
        assert port is not None
        assert asked(port, "evil.example")[0] == 200


def test_a_probe_is_answered_under_any_name() -> None:
    with healthcheck_server("127.0.0.1", 0) as port:
        assert port is not None
        assert asked(port, "evil.example")[0] == 503


def test_connections_that_ask_nothing_keep_nobody_waiting() -> None:
    with serving("tests", "127.0.0.1", 0, answer) as port, contextlib.ExitStack() as held:
        before = threading.active_count()
        for _ in range(3 * MAX_CONNECTIONS):
            held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
        assert asked(port, "127.0.0.1")[0] == 200
        assert threading.active_count() - before <= MAX_CONNECTIONS + 1


def test_a_request_that_comes_byte_by_byte_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.2)
    with (
        serving("tests", "127.0.0.1", 0, answer) as port,
        socket.create_connection(("127.0.0.1", port), timeout=20) as slow,
    ):
        slow.settimeout(0.01)
        ended = False
        while not ended:
            try:
                slow.send(b"G")
                ended = slow.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True
