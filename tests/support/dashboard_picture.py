"""Pictures of the dashboard for docs/images: `python -m tests.support.dashboard_picture`.

They are of the real thing: a server, a worker, an hour of its statistics, in a Chromium.
"""

from __future__ import annotations

import math
import random
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from playwright.sync_api import sync_playwright

from docket.clock import now
from docket.instrumentation.counters import Counters
from docket.store.embedded import embedded_server
from docket.store.statistics import CODES, numbers_of
from tests.support.web_site import CHROMIUM, Site, resize_image, send_invoice, sync_customer

FOLDER = Path(__file__).parents[2] / "docs/images"
SIZE = {"width": 1180, "height": 760}

#: Runs a minute, the part that fails, and the seconds that a run takes.
RATES = {
    "send_invoice": (42, 0.03, 0.12),
    "resize_image": (18, 0.004, 1.4),
    "sync_customer": (9, 0, 4),
}


async def write_history(site: Site) -> None:
    """Write an hour of statistics, as workers would have handed them in."""
    docket = site.docket
    chance = random.Random(7)
    present = int(now().timestamp()) // 60 * 60
    pipeline, keys = docket.connections.pipeline, docket.keys
    for minute in range(60):
        start = present - 60 * minute
        fields: list[str | int] = []
        for name, (rate, failing, seconds) in RATES.items():
            wave = 1 + 0.45 * math.sin(minute / 9) + chance.uniform(-0.2, 0.2)
            counters = Counters()
            counters.started = round(rate * wave)
            counters.failed = sum(chance.random() < failing for _ in range(counters.started))
            counters.succeeded = counters.started - counters.failed
            counters.retried = counters.failed
            for _ in range(counters.started):
                counters.duration.observe(seconds * chance.uniform(0.5, 1.6))
                counters.punctuality.observe(chance.expovariate(80))
            for code, number in zip(CODES, numbers_of(counters), strict=True):
                fields += [f"{code} {name}", number] if number else []
        await pipeline.command("HSET", keys.statistics(60, start), *fields)


async def furnish(site: Site) -> None:
    """Give the overview something to show."""
    await write_history(site)
    for customer in ("hooli", "initech"):
        await site.add(send_invoice, f"invoice-2041-{customer}", customer)
        await site.until(f"invoice-2041-{customer}", "failed")
    for number in (1, 2):
        await site.add(resize_image, f"image-{number}", "photo.jpg")
    for number in range(4):
        await site.add(sync_customer, f"sync-acme-{number}", "acme")
    for number in range(23):
        await site.add(send_invoice, f"later-{number}", "acme", when=now() + timedelta(hours=2))
    await site.docket.pause("daily_report", reason="the database moves", by="ann")


def main() -> None:
    """Make them."""
    assert CHROMIUM is not None, "there is no Chromium on this machine"
    FOLDER.mkdir(exist_ok=True)
    running = embedded_server.start(f"memory://pictures-{uuid4().hex}")
    try:
        site = Site(running.url, name="orders")
        site.start()
        site.run(furnish(site))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport=SIZE, color_scheme=scheme)
                page.goto(site.address)
                page.locator("#live[data-state=on]").wait_for()
                page.screenshot(path=FOLDER / f"dashboard-{scheme}.png", animations="disabled")
            browser.close()
        site.stop()
    finally:
        running.stop()


if __name__ == "__main__":
    main()
