"""The responses of /livez /readyz /status /metrics for one pool."""

import importlib
import json
import time
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from types import ModuleType

from supervisor.monitoring import status
from supervisor.monitoring.http_server import Handler, Response, text
from supervisor.pool.state.pool_state import PoolState


def handlers_of(
    pool_state: PoolState, now: Callable[[], float] = time.monotonic
) -> dict[str, Handler]:
    """Make the handlers of one pool, by path; `now` is the clock of its times."""

    @cache
    def registry() -> object:
        return _metrics().registry_of(pool_state, now)

    def livez() -> Response:
        return text(HTTPStatus.OK, "ok")

    def readyz() -> Response:
        reason = pool_state.not_ready_because(now())
        if reason is None:
            return text(HTTPStatus.OK, "ready")
        return text(HTTPStatus.SERVICE_UNAVAILABLE, reason)

    def report() -> Response:
        body = json.dumps(status.report(pool_state, now())).encode()
        return Response(HTTPStatus.OK, body, "application/json")

    def scrape() -> Response:
        body: bytes = _metrics().render(registry())
        return Response(HTTPStatus.OK, body, _metrics().CONTENT_TYPE)

    return {"/livez": livez, "/readyz": readyz, "/status": report, "/metrics": scrape}


def _metrics() -> ModuleType:
    # By the first scrape: Prometheus' client is a quarter of the supervisor's memory, with all that
    # it imports, and most pools are not scraped.
    return importlib.import_module("supervisor.monitoring.metrics")
