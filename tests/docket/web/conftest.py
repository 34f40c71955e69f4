"""Fixtures of the dashboard's tests: one on a real docket, asked without a socket."""

import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest

from docket import Docket

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytest.importorskip("jinja2", reason="the extra web is not installed")

from docket.web import app
from tests.support.web_client import Browser

Serve = Callable[..., Browser]


@pytest.fixture
async def serve(docket: Docket) -> AsyncGenerator[Serve]:
    """Makes a dashboard of the docket; the arguments are those of `app`."""
    browsers: list[Browser] = []

    def made(*others: Docket, **settings: Any) -> Browser:
        browser = Browser(app(docket, *others, **settings))
        browsers.append(browser)
        return browser

    yield made
    for each in browsers:
        await each.close()


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A loopback port that is taken, and on which nobody listens, while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def browser(serve: Serve) -> Browser:
    """A dashboard for whoever asks from this machine."""
    return serve()
