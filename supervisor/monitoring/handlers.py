"""The responses of /livez /readyz /status /metrics for one pool."""

import json
import time
from http import HTTPStatus

from supervisor.monitoring import metrics, status
from supervisor.monitoring.http_server import Handler, Response, text
from supervisor.pool.state.pool_state import PoolState


def handlers_of(pool_state: PoolState) -> dict[str, Handler]:
    """Make the handlers of one pool, by path."""
    registry = metrics.registry_of(pool_state)

    def livez() -> Response:
        return text(HTTPStatus.OK, "ok")

    def readyz() -> Response:
        reason = pool_state.not_ready_because
        if reason is None:
            return text(HTTPStatus.OK, "ready")
        return text(HTTPStatus.SERVICE_UNAVAILABLE, reason)

    def report() -> Response:
        body = json.dumps(status.report(pool_state, time.monotonic())).encode()
        return Response(HTTPStatus.OK, body, "application/json")

    def scrape() -> Response:
        return Response(HTTPStatus.OK, metrics.render(registry), metrics.CONTENT_TYPE)

    return {"/livez": livez, "/readyz": readyz, "/status": report, "/metrics": scrape}
