"""The state that all requests of a dashboard share."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import jinja2

from docket.pool_control import PoolControl
from docket.web import phrases
from docket.web.actions import OF_POOL, Action
from docket.web.authorization import Authorize
from docket.web.live import Feeds
from docket.web.notices import Notices
from docket.web.shelf import NUMBERS_SECONDS, Shared, Shelf
from docket_display.printable import in_view, on_lines

#: The files that pages load, with their types.
STATIC = {
    "docket.css": "text/css; charset=utf-8",
    "docket.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_FOLDER = files("docket.web")


@cache
def _environment() -> jinja2.Environment:
    """Make the templates, in which everything is escaped that is not said to be safe."""
    templates = {
        each.name: each.read_text("utf-8")
        for each in (_FOLDER / "templates").iterdir()
        if each.name.endswith(".html")
    }
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(templates),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "shown": in_view,
        "lines": on_lines,
        "mark": _mark,
        "quoted": _quoted,
        "brief": phrases.brief,
        "number": phrases.number,
        "percent": phrases.percent,
        "size": phrases.size,
        "tasks": phrases.tasks,
        "absolute": phrases.absolute,
    }
    return environment


def _mark(text: str) -> str:
    """Return a short name for a text, by which the script knows an element again."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")


def static_files() -> dict[str, bytes]:
    """Read the files that pages load, by name."""
    return {name: (_FOLDER / "static" / name).read_bytes() for name in STATIC}


@dataclass
class Site:
    """The state of one dashboard.

    Attributes:
        shelf: its dockets.
        authorize: decides who may do what.
        is_read_only: nobody may do anything but look.
        pool: the pool of workers beside it, if any.
    """

    shelf: Shelf
    authorize: Authorize
    is_read_only: bool
    pool: PoolControl | None
    feeds: Feeds = field(default_factory=Feeds)
    notices: Notices = field(default_factory=Notices)
    #: Held by the bulk of tasks that is acted on: one at a time.
    bulk: asyncio.Lock = field(default_factory=asyncio.Lock)
    static: dict[str, bytes] = field(default_factory=static_files)
    templates: jinja2.Environment = field(default_factory=_environment)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(b"".join(self.static.values())).hexdigest()
        #: The version of the static files, which browsers keep until it changes.
        self.version = digest[:12]
        #: The report of the pool, which all viewers share.
        self.pool_report: Shared[Mapping[str, Any]] = Shared(NUMBERS_SECONDS, self._ask_pool)

    async def _ask_pool(self) -> Mapping[str, Any]:
        return {} if self.pool is None else await self.pool.status()

    def offered(self) -> tuple[Action, ...]:
        """Return the actions that there are on this dashboard, besides looking."""
        if self.is_read_only:
            return ()
        return tuple(
            action
            for action in Action
            if action is not Action.VIEW and (self.pool is not None or action not in OF_POOL)
        )

    def page(self, template: str, values: Mapping[str, Any]) -> str:
        """Make a whole page."""
        return self.templates.get_template(template).render(values)

    def contents(self, template: str, values: Mapping[str, Any]) -> str:
        """Make the part of a page that changes."""
        found = self.templates.get_template(template)
        return "".join(found.blocks["contents"](found.new_context(dict(values))))

    async def close(self) -> None:
        """End the feeds, and close the dockets that were opened here."""
        await self.feeds.close()
        await self.shelf.close()
