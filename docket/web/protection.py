"""The protection of every answer and every POST, as ASGI middleware.

Pages may come from nowhere else, hold no script or style of their own, and stand in no frame. A
POST has to come from a page of the same origin.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: with it browsers send the origin of a form as "null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_READING = ("GET", "HEAD")


class Protection:
    """Middleware around a dashboard.

    Args:
        app: the dashboard.
        origins: origins under which it is reached besides that of the Host header, for a proxy
            that changes it: "https://ops.example.com".
    """

    def __init__(self, app: ASGIApp, origins: Collection[str] = ()) -> None:
        self.app = app
        self._origins = {each.rstrip("/").lower() for each in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
                message["headers"] = headers.raw
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        await (refusal or self.app)(scope, receive, protected)

    def _refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        if method in _READING:
            return None
        if method != "POST":
            return PlainTextResponse("There is no such method here.", 405, {"Allow": "GET, POST"})
        if self._is_own(headers):
            return None
        return PlainTextResponse(
            "This form did not come from a page of this dashboard, and nothing was done. Behind a "
            "proxy that changes the Host header, the dashboard has to be told its origin.",
            403,
        )

    def _is_own(self, headers: Headers) -> bool:
        """Return whether a browser says that the request comes from a page of ours."""
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return False
        origins, hosts = headers.getlist("origin"), headers.getlist("host")
        if len(origins) != 1 or len(hosts) != 1:
            return False
        origin = origins[0].lower()
        if origin in self._origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False  # Of "http://[", which no browser sends.
        return parts.scheme in ("http", "https") and parts.netloc == hosts[0].lower()
