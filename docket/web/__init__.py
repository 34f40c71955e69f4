"""The dashboard: a docket live in the browser. Needs the extra `web` (Starlette, uvicorn, Jinja2).

from docket.web import app

service.mount("/docket", app(docket, authorize=is_operator))
"""

from docket.pool_control import PoolControl, PoolFailure
from docket.web.actions import Action
from docket.web.application import app
from docket.web.authorization import Authorize, BasicUsers, TrustedHeader, loopback_only

__all__ = [
    "Action",
    "Authorize",
    "BasicUsers",
    "PoolControl",
    "PoolFailure",
    "TrustedHeader",
    "app",
    "loopback_only",
]
