"""The HTTP endpoints of a process: metrics, and the health of its workers.

The server and the metrics are imported when they are asked for: they, and what they need of others,
take as much memory as half of docket, and under the supervisor no worker serves anything.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, overload

from docket.instrumentation.process_registry import PROCESS_REGISTRY
from docket_display.printable import on_one_line

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

    from docket.instrumentation.http_server import Answer
else:
    # Prometheus' registries take any object with these methods.
    Collector = object

#: The address of all interfaces, needed by a probe from outside the container.
EVERYWHERE = "0.0.0.0"  # noqa: S104


def _http_server() -> ModuleType:
    return importlib.import_module("docket.instrumentation.http_server")


def _collector() -> ModuleType:
    return importlib.import_module("docket.instrumentation.collector")


class DocketCollector(Collector):
    """A Prometheus collector for the workers and dockets of this process.

    Call it on a thread: on the event loop of a worker it omits the backlog, since it cannot wait
    for it there.
    """

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering the collector does not collect."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yield every family with its present values."""
        families: Iterable[Metric] = _collector().families(PROCESS_REGISTRY)
        return families


#: The metrics of this process, for programs with an endpoint of their own:
#: `prometheus_client.REGISTRY.register(COLLECTOR)`.
COLLECTOR = DocketCollector()


def health() -> tuple[bool, str]:
    """Return whether the workers of this process can claim tasks now, and a message.

    False if one of them cannot (its server is away, its event loop is blocked, or it was told to
    stop), or if none is running.
    """
    workers = PROCESS_REGISTRY.running_workers()
    if not workers:
        return False, "no worker runs in this process"
    for worker in workers:
        obstacle = worker.readiness.obstacle
        if obstacle is not None:
            return False, f"worker {worker.label} cannot claim: {obstacle}"
    return True, "OK"


class _Server(Protocol):
    """A server whose host and port may come in either order."""

    @overload
    def __call__(
        self,
        host: str = EVERYWHERE,
        port: int | None = None,
        *,
        allowed_hosts: Collection[str] = ...,
    ) -> AbstractContextManager[int | None]: ...

    @overload
    def __call__(
        self,
        port: int | None,
        host: str = EVERYWHERE,
        *,
        allowed_hosts: Collection[str] = ...,
    ) -> AbstractContextManager[int | None]: ...


def _in_either_order(server: Callable[..., AbstractContextManager[int | None]]) -> _Server:
    """Let host and port be passed in either order: text is a host, a number a port."""

    @wraps(server)
    def in_either_order(
        *address: str | int | None, **named: Any
    ) -> AbstractContextManager[int | None]:
        for value in address:
            name = "host" if isinstance(value, str) else "port"
            if name in named:
                raise TypeError(f"two values for the {name}: {named[name]!r} and {value!r}")
            named[name] = value
        return server(**named)

    return in_either_order


@_in_either_order
@contextmanager
def healthcheck_server(
    host: str = EVERYWHERE, port: int | None = None, *, allowed_hosts: Collection[str] = ("*",)
) -> Generator[int | None]:
    """Serve `health` over HTTP while the context lasts: 200 and `OK`, or 503 and the reason.

    Args:
        host: name or address of the interface.
        port: the port to listen on, for every path; 0 chooses a free one; None serves nothing.
            Passed by position, host and port may come in either order.
        allowed_hosts: names for the Host header, besides addresses, localhost and `host`: who asks
            under another one is refused with 421. "*" allows every name.

    Returns:
        A context manager that gives the port.

    Raises:
        CannotListen: (an OSError) the port is taken.
    """
    if port is None:
        yield None
        return
    serving = _http_server().serving
    with serving("health checks", host, port, _health_answer, allowed_hosts) as taken:
        yield taken


@_in_either_order
@contextmanager
def metrics_server(
    host: str = EVERYWHERE, port: int | None = None, *, allowed_hosts: Collection[str] = ()
) -> Generator[int | None]:
    """Serve the metrics of this process over HTTP while the context lasts.

    They are docket's and those of prometheus_client's own registry, in the format of Prometheus.
    Arguments and errors are those of `healthcheck_server`; only addresses, localhost and `host` are
    allowed by default.
    """
    if port is None:
        yield None
        return
    _collector()  # not by the first scrape: that would take the interpreter from running tasks
    serving = _http_server().serving
    with serving("metrics", host, port, _metrics_answer, allowed_hosts) as taken:
        yield taken


def metrics_text() -> bytes:
    """Return the text that `metrics_server` serves."""
    text: bytes = _collector().metrics_text(PROCESS_REGISTRY)
    return text


def _health_answer() -> Answer:
    is_healthy, message = health()
    http_server = _http_server()
    statuses = http_server.HTTPStatus
    status = statuses.OK if is_healthy else statuses.SERVICE_UNAVAILABLE
    answer: Answer = http_server.Answer(status, on_one_line(message).encode())
    return answer


def _metrics_answer() -> Answer:
    http_server, content_type = _http_server(), _collector().CONTENT_TYPE
    answer: Answer = http_server.Answer(http_server.HTTPStatus.OK, metrics_text(), content_type)
    return answer
