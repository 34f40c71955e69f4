"""The view of one request: what it is about, who asks, and what they may do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, cast
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request

from docket.clock import now
from docket.docket import Docket
from docket.pool_control import PoolFailure
from docket.web import phrases
from docket.web.actions import Action
from docket.web.authorization import authorized
from docket.web.shelf import ShownDocket
from docket.web.site import Site

#: The most bytes of a form, and fields; and the time in which it has to arrive, in seconds.
MOST_FORM_BYTES, MOST_FIELDS = 1_000_000, 2_000
FORM_SECONDS = 30.0
_ADDRESS = re.compile(r"[\w.:\[\]-]+")


@dataclass(frozen=True)
class View:
    """One request. `shown` is None where it is about no docket.

    Attributes:
        site: the dashboard.
        request: the request.
        shown: the docket that it is about.
        user: the name of who asks.
        may: what they may do.
    """

    site: Site
    request: Request
    shown: ShownDocket | None
    user: str
    may: frozenset[Action]

    @property
    def docket(self) -> Docket:
        """The docket that the request is about, open."""
        assert self.shown is not None
        return self.shown.docket

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the address; of one that is given twice, the last."""
        return self.request.query_params

    @property
    def query_pairs(self) -> list[tuple[str, str]]:
        """The parameters of the address, those given twice too."""
        return self.request.query_params.multi_items()

    @property
    def origin(self) -> str:
        """The address of the client, and that which a proxy says that it has."""
        client = "-" if self.request.client is None else self.request.client.host
        forwarded = self.request.headers.get("x-forwarded-for", "")[:200]
        if not forwarded:
            return client
        # Anybody may send it: what is no list of addresses is not to read like the rest of a log.
        is_plain = all(_ADDRESS.fullmatch(each.strip()) for each in forwarded.split(","))
        return f"{client} (for {forwarded if is_plain else repr(forwarded)})"

    @property
    def root(self) -> str:
        """The path under which the dashboard is mounted."""
        return root_of(self.request)

    @property
    def path(self) -> str:
        """The path of the request; of its URL the Host header, which anybody writes, is a part."""
        return str(self.request.scope["path"])

    def link(self, page: str = "", **parameters: Any) -> str:
        """Return the address of a page of this docket."""
        assert self.shown is not None
        return f"{self.root}/d/{self.shown.slug}/{page}{_query(parameters)}"

    def values(self, **values: Any) -> dict[str, Any]:
        """Return the values of a template: those of every page, and these."""
        moment = now()
        return {
            "site": self.site,
            "shown": self.shown,
            "user": self.user,
            "may": self.may,
            "root": self.root,
            "link": self.link,
            "query": self.query,
            "now": moment,
            "time": partial(_time, moment=moment),
            "path": self.path,
            "notice": None,
            **values,
        }

    async def pool_report(self) -> Mapping[str, Any] | None:
        """Return the report of the pool beside this dashboard, if it works on this docket.

        Its `trouble` is None; one that does not answer has that, and nothing else.
        """
        pool = self.site.pool
        if pool is None or self.shown is None or pool.docket != self.docket.name:
            return None
        try:
            return {**await self.site.pool_report.get(), "trouble": None}
        except PoolFailure as error:
            return {"trouble": str(error)}

    def own_address(self, address: str | None) -> str:
        """Return an address if it is a page of this dashboard, else that of the docket."""
        home = self.link() if self.shown is not None else f"{self.root}/"
        if not address or any(c in address for c in "\\\r\n\t"):
            return home
        try:
            parts = urlsplit(address)
        except ValueError:
            return home
        is_own = not parts.scheme and not parts.netloc and parts.path.startswith(home)
        # A browser takes %2e for a dot.
        leads_out = "/../" in f"{unquote(parts.path)}/"
        return address if is_own and not leads_out else home

    def about(self) -> str:
        """Return the address of the page that is shown, without a notice."""
        parameters = [p for p in self.query_pairs if p[0] != "notice"]
        path = quote(self.path, safe="/")
        return f"{path}?{urlencode(parameters)}" if parameters else path


async def view_of(request: Request, action: Action = Action.VIEW) -> View:
    """Make the view of a request, after asking who it is.

    Raises:
        HTTPException: they may not do it, or there is no such docket.
        DocketError: the docket cannot be opened.
    """
    site: Site = request.app.state.site
    if action is not Action.VIEW and action not in site.offered():
        raise HTTPException(403, "This dashboard is for looking only: nothing was done.")
    user = await authorized(site.authorize, request, action)
    if user is None:
        raise HTTPException(403, f"You may not do this here ({action.value}).")
    shown = None
    if "slug" in request.path_params:
        shown = site.shelf.get(request.path_params["slug"])
        if shown is None:
            raise HTTPException(404, "This dashboard shows no docket of that name.")
        await shown.open()
    may = [each for each in site.offered() if await _is_allowed(site, request, each)]
    return View(site, request, shown, user, frozenset(may))


async def _is_allowed(site: Site, request: Request, action: Action) -> bool:
    try:
        return await authorized(site.authorize, request, action) is not None
    except HTTPException:
        return False


def root_of(request: Request) -> str:
    """Return the path under which the dashboard is mounted, as it stands in addresses."""
    return quote(request.scope.get("root_path", "").rstrip("/"), safe="/")


async def form_of(request: Request) -> list[tuple[str, str]]:
    """Read the fields of a form.

    Raises:
        HTTPException: it is none, too large, or does not arrive in time.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "This takes a form.")
    body = bytearray()
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_FORM_BYTES:
                    raise HTTPException(
                        413, "The form is too large: act on fewer tasks, or by a filter."
                    )
    except TimeoutError:
        raise HTTPException(408, "The form did not arrive in time: nothing was done.") from None
    try:
        return parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="replace"
        )
    except ValueError as error:
        raise HTTPException(400, "The form cannot be read.") from error


def _query(parameters: Mapping[str, Any]) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in parameters.items():
        several = cast("list[object]", value) if isinstance(value, list) else [value]
        pairs += [(name, str(each)) for each in several if each not in (None, "")]
    return f"?{urlencode(pairs, errors='replace')}" if pairs else ""


def _time(at: datetime | None, moment: datetime) -> Markup:
    if at is None:
        return Markup("–")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(), phrases.absolute(at), phrases.relative(at, moment)
    )
