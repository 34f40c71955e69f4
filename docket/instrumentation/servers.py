"""What can be seen of a process from outside: its metrics, and whether its workers can claim."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.registry import CollectorRegistry

from docket.instrumentation.collector import DocketCollector, MergedCollector
from docket.instrumentation.counters import DURATION_BUCKETS, Counters, Histogram
from docket.instrumentation.http_server import Answer, serving
from docket.instrumentation.process_registry import PROCESS_REGISTRY

__all__ = [
    "COLLECTOR",
    "DURATION_BUCKETS",
    "EVERYWHERE",
    "Counters",
    "Histogram",
    "health",
    "healthcheck_server",
    "metrics_server",
    "metrics_text",
]

#: On all interfaces, as a probe from outside the container needs it.
EVERYWHERE = "0.0.0.0"  # noqa: S104

#: The metrics of this process, for whoever has an endpoint of their own:
#: `prometheus_client.REGISTRY.register(COLLECTOR)`.
COLLECTOR = DocketCollector(PROCESS_REGISTRY)


def health() -> tuple[bool, str]:
    """Whether the workers of this process can claim tasks at this moment, and what to say of it.

    Not if one of them cannot (its server is away, its event loop is blocked, it was told to stop),
    nor if none is running.
    """
    posts = PROCESS_REGISTRY.posts()
    if not posts:
        return False, "no worker runs in this process"
    for post in posts:
        obstacle = post.readiness.obstacle
        if obstacle is not None:
            return False, f"worker {post.worker} cannot claim: {obstacle}"
    return True, "OK"


@contextmanager
def healthcheck_server(port: int | None = None, host: str = EVERYWHERE) -> Generator[int | None]:
    """Serve `health` by HTTP while the context lasts: 200 and `OK`, or 503 and the reason.

    Args:
        port: to listen on, every path is answered; 0 takes a free one; None serves nothing.
        host: name or address of the interface.

    Returns:
        A context manager, which gives the port.

    Raises:
        CannotListen: (an OSError) the port is taken.
    """
    if port is None:
        yield None
        return
    with serving("health checks", host, port, _health_answer) as taken:
        yield taken


@contextmanager
def metrics_server(port: int | None = None, host: str = EVERYWHERE) -> Generator[int | None]:
    """Serve the metrics of this process by HTTP, in the format of Prometheus, while the context
    lasts: docket's, and those of prometheus_client's own registry.

    The arguments, and what is raised, are those of `healthcheck_server`.
    """
    if port is None:
        yield None
        return
    with serving("metrics", host, port, _metrics_answer) as taken:
        yield taken


def metrics_text() -> bytes:
    """What `metrics_server` serves."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MergedCollector(COLLECTOR, REGISTRY))
    return generate_latest(registry)


def _health_answer() -> Answer:
    is_well, words = health()
    status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(status, words.encode(errors="replace"))


def _metrics_answer() -> Answer:
    return Answer(HTTPStatus.OK, metrics_text(), CONTENT_TYPE_LATEST)
