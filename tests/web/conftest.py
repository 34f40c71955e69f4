"""Fixtures of the tests in a real browser, which are skipped where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")

from tests.support.web_site import CHROMIUM, Site  # noqa: E402 - needs the extra


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A Chromium of the system; not of the session, since its loop runs until it is closed."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        # Its sandbox does not work for root, and the pages are ours.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def furnished(server: str) -> Iterator[Site]:
    """A dashboard with something on every page; tests only look at it."""
    site = Site(server)
    site.start()
    site.run(site.furnish())
    yield site
    site.stop()


@pytest.fixture
def site(server: str) -> Iterator[Site]:
    """A dashboard of a docket of its own."""
    site = Site(server)
    site.start()
    yield site
    site.stop()


class Complaints(list[str]):
    """What a page did that it should not: errors, violations of its policy, dialogs, requests."""

    def watch(self, page: Any, address: str) -> None:
        page.on(
            "console", lambda m: self.append(m.text) if m.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("dialog", self._dialog)
        page.on("request", lambda r: None if r.url.startswith(address) else self.append(r.url))

    def _dialog(self, dialog: Any) -> None:
        self.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """Checked at the end of each test: there are none."""
    found = Complaints()
    yield found
    assert found == []


@pytest.fixture
def open_page(chromium: Any, complaints: Complaints) -> Iterator[Any]:
    """Opens a page of a dashboard; the settings are those of a browser's context."""
    contexts: list[Any] = []

    def opened(site: Site, path: str = "", **settings: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **settings})
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        complaints.watch(page, site.address.partition("/d/")[0])
        page.goto(site.address + path)
        return page

    yield opened
    for each in contexts:
        each.close()
