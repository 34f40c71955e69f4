"""The responses of /livez /readyz /status /metrics for one pool."""

import json
import time
from collections.abc import Callable
from http import HTTPStatus

from supervisor.monitoring import metrics, status
from supervisor.monitoring.http_server import Handler, Response, text
from supervisor.pool.state.pool_state import PoolState


def handlers_of(
    pool_state: PoolState, now: Callable[[], float] = time.monotonic
) -> dict[str, Handler]:
    """Make the handlers of one pool, by path; `now` is the clock of its times."""
    registry = metrics.registry_of(pool_state, now)

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
        return Response(HTTPStatus.OK, metrics.render(registry), metrics.CONTENT_TYPE)

    return {"/livez": livez, "/readyz": readyz, "/status": report, "/metrics": scrape}
