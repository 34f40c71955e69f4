"""What /livez /readyz /status /metrics answer for one pool."""

import json
import time
from http import HTTPStatus

from supervisor.monitoring import metrics, status
from supervisor.monitoring.http_server import Answer, Handler, text
from supervisor.pool.state.pool_state import Ground


def handlers_of(ground: Ground) -> dict[str, Handler]:
    """By path."""
    registry = metrics.registry_of(ground)

    def livez() -> Answer:
        return text(HTTPStatus.OK, "ok")

    def readyz() -> Answer:
        reason = ground.not_ready_because
        if reason is None:
            return text(HTTPStatus.OK, "ready")
        return text(HTTPStatus.SERVICE_UNAVAILABLE, reason)

    def report() -> Answer:
        body = json.dumps(status.report(ground, time.monotonic())).encode()
        return Answer(HTTPStatus.OK, body, "application/json")

    def scrape() -> Answer:
        return Answer(HTTPStatus.OK, metrics.render(registry), metrics.CONTENT_TYPE)

    return {"/livez": livez, "/readyz": readyz, "/status": report, "/metrics": scrape}
