"""The ASGI application of the dashboard."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from docket.docket import Docket
from docket.errors import DocketError, RefusedCall
from docket.pool_control import PoolControl
from docket.web import confirmation, performance
from docket.web.authorization import Authorize, loopback_only
from docket.web.live import EventStream
from docket.web.order import Order
from docket.web.pages import fleet, overview, rules, tasks
from docket.web.protection import Protection
from docket.web.shelf import Shelf
from docket.web.site import STATIC, Site
from docket.web.view import View, form_of, root_of, view_of

Read = Callable[[View], Awaitable[dict[str, Any]]]

#: The pages of a docket: their paths, titles, templates, and what reads them.
PAGES: Mapping[str, tuple[str, str, Read]] = {
    "": ("Overview", "overview.html", overview.overview),
    "tasks": ("Tasks", "tasks.html", tasks.tasks),
    "task": ("Task", "task.html", tasks.task),
    "functions": ("Functions", "functions.html", fleet.functions),
    "workers": ("Workers", "workers.html", fleet.workers),
    "schedules": ("Schedules", "schedules.html", rules.schedules),
    "limits": ("Limits", "limits.html", rules.limits),
    "holds": ("Pauses and strikes", "holds.html", rules.holds),
    "audit": ("Audit log", "audit.html", rules.audit),
}
#: A year: the address of a static file changes with its contents.
_KEPT = "public, max-age=31536000, immutable"


def app(
    *dockets: Docket,
    authorize: Authorize | None = None,
    read_only: bool = False,
    origins: Collection[str] = (),
    pool: PoolControl | None = None,
) -> Protection:
    """Make the dashboard of some dockets, to be served or mounted at any path.

    It needs none of their code, and unpickles nothing.

    Example:
        service = FastAPI()
        service.mount("/docket", app(Docket("orders", url), authorize=is_operator))

    Args:
        dockets: at least one. One that is not open is opened with the first request, and closed at
            the end if the dashboard is served by itself.
        authorize: called with the request and the action; returns the name of who asks, True, or
            something false to refuse, and may be a coroutine function. Without one, only requests
            of this machine to a loopback address or "localhost" are answered, and none that a
            proxy forwards.
        read_only: nobody may do anything but look. The observer's user of the server is enough.
        origins: origins under which it is reached, beside that of the Host header, such as
            "https://ops.example.com", for a proxy that changes the Host header.
        pool: the control of a pool of workers.

    Raises:
        ValueError: there is no docket.
    """
    if not dockets:
        raise ValueError("A dashboard shows at least one docket")
    site = Site(Shelf(dockets), authorize or loopback_only, read_only, pool)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await site.close()

    made = Starlette(
        routes=_routes(),
        exception_handlers={
            HTTPException: _refused,
            DocketError: _unavailable,
            RefusedCall: _unavailable,
            Exception: _broken,
        },
        lifespan=lifespan,
    )
    made.state.site = site
    # Outermost, so that the answer to an error of ours is protected too.
    return Protection(made, origins)


def _routes() -> list[Route]:
    return [
        Route("/", _home),
        Route("/static/{name}", _static),
        *(Route(f"/d/{{slug}}/{path}", _endpoint(path), name=path or "home") for path in PAGES),
        Route("/d/{slug}/act/{action}", _order, methods=["GET", "POST"]),
    ]


# Pages ------------------------------------------------------------------------------------


async def _home(request: Request) -> Response:
    view = await view_of(request)
    if len(view.site.shelf) == 1:
        (only,) = view.site.shelf
        return RedirectResponse(f"{view.root}/d/{only.slug}/", 303)
    return await _answer(view, "", ("Dockets", "dockets.html", overview.dockets))


def _endpoint(path: str) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        return await _answer(await view_of(request), path, PAGES[path])

    return page


async def _answer(view: View, path: str, page: tuple[str, str, Read]) -> Response:
    title, template, read = page

    async def contents() -> str:
        return view.site.contents(template, view.values(about=view.about(), **await read(view)))

    if "text/event-stream" in view.request.headers.get("accept", ""):
        if view.site.feeds.is_full:
            return Response(status_code=503, headers={"Retry-After": "30"})
        # All who see the same share one feed.
        key = (view.root, path, view.about(), view.may)
        return EventStream(view.site.feeds, key, contents)
    values = view.values(
        title=title,
        current=path,
        pages=PAGES,
        about=view.about(),
        notice=view.site.notices.take(view.query.get("notice")),
        **await read(view),
    )
    return HTMLResponse(view.site.page(template, values))


async def _static(request: Request) -> Response:
    site: Site = request.app.state.site
    name = request.path_params["name"]
    if name not in STATIC:
        raise HTTPException(404, "There is no such file.")
    is_current = request.query_params.get("v") == site.version
    return Response(
        site.static[name],
        media_type=STATIC[name],
        headers={"Cache-Control": _KEPT if is_current else "no-cache"},
    )


# Orders -----------------------------------------------------------------------------------


async def _order(request: Request) -> Response:
    name = request.path_params["action"]
    view = await view_of(request, Order.of(name, ()).action)
    is_post = request.method == "POST"
    order = Order.of(name, await form_of(request) if is_post else view.query_pairs)
    if not (is_post and order.is_confirmed):
        values = await confirmation.confirmation(view, order)
        title = f"{values['verb']} {values['subject']}"
        page = view.values(title=title, current="act", pages=PAGES, about=view.link(), **values)
        return HTMLResponse(view.site.page("confirm.html", page))
    notice = await performance.carry_out(view, order)
    back = view.own_address(order.one("back"))
    return RedirectResponse(_with_notice(back, view.site.notices.keep(notice)), 303)


def _with_notice(address: str, token: str) -> str:
    parts = urlsplit(address)
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "notice"]
    return parts._replace(query=urlencode([*kept, ("notice", token)])).geturl()


# Errors -----------------------------------------------------------------------------------


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(request, error.status_code, error.detail, error.headers)


async def _unavailable(request: Request, error: Exception) -> Response:
    return _error(request, 503, str(error), {"Retry-After": "5"})


async def _broken(request: Request, error: Exception) -> Response:
    return _error(request, 500, "Something is wrong here: see the log of the dashboard.", None)


def _error(request: Request, status: int, text: str, headers: Mapping[str, str] | None) -> Response:
    site: Site = request.app.state.site
    values = {
        "title": HTTPStatus(status).phrase,
        "text": text,
        "site": site,
        "root": root_of(request),
        "again": request.method == "GET" and status in (500, 503),
    }
    return HTMLResponse(site.page("error.html", values), status, headers)


__all__ = ["PAGES", "app"]
