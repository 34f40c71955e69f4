"""The dashboard in a real Chromium: looked at, clicked, typed at, and followed while it changes."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from docket.clock import now
from tests.support.web_site import HOSTILE, Site, send_invoice

PAGES = {
    "": "Throughput",
    "tasks": "later-",
    "tasks?state=failed": "invoice-hooli",
    "task?key=invoice-hooli": "Attempt 2: failed",
    "functions": "send_invoice",
    "workers": "build-7#4711",
    "schedules": "collect_usage",
    "limits": "customer:acme",
    "holds": "the database moves",
    "audit": "Retried 1 of 1 task.",
    "act/pause": "Pause the whole docket",
    "act/strike?function=send_invoice": "Strike send_invoice",
    "act/retry?by=filter&state=failed": "3 tasks",
}
SEARCHED = re.compile(r"/tasks\?.*key_prefix=invoice-")
#: Those that are followed.
LIVE = [page for page in PAGES if not page.startswith("act/")]


def is_live(page: Any) -> None:
    page.locator("#live[data-state=on]").wait_for()


def act(page: Any, name: str) -> None:
    """Click an action, and confirm it on the page that asks."""
    page.get_by_role("link", name=name, exact=True).first.click()
    page.locator("form.confirm button").click()


# Each page --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_shown_without_a_complaint(furnished: Site, open_page: Any, path: str) -> None:
    page = open_page(furnished, path)

    assert PAGES[path] in page.locator("main").inner_text()
    if path in LIVE:
        is_live(page)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_can_be_read_without_javascript(furnished: Site, open_page: Any, path: str) -> None:
    page = open_page(furnished, path, java_script_enabled=False)

    assert PAGES[path] in page.locator("main").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_accessible(furnished: Site, open_page: Any, path: str, scheme: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed"
    )
    page = open_page(furnished, path, color_scheme=scheme, bypass_csp=True)

    results = axe.Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})

    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("width", [360, 640])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_a_phone_and_a_reader_who_enlarges_it(
    furnished: Site, open_page: Any, path: str, width: int
) -> None:
    page = open_page(furnished, path, viewport={"width": width, "height": 800})

    assert page.evaluate("document.scrollingElement.scrollWidth") <= width


def test_a_hostile_key_and_traceback_are_text(furnished: Site, open_page: Any) -> None:
    page = open_page(furnished, "tasks?state=failed")
    page.get_by_role("link", name=HOSTILE).click()
    for each in page.locator("details summary").all():
        each.click()

    assert HOSTILE in page.locator("h1").inner_text()
    assert HOSTILE in page.locator("pre.traceback").first.inner_text()
    assert page.locator("main img, main script").count() == 0


# Live -------------------------------------------------------------------------------------


def test_a_list_changes_without_a_reload_and_keeps_what_a_reader_did(
    site: Site, open_page: Any
) -> None:
    async def later(first: int, last: int) -> None:
        for number in range(first, last):
            due = now() + timedelta(hours=100 - number)
            await site.add(send_invoice, f"later-{number:02}", "acme", when=due)

    site.run(later(0, 40))
    page = open_page(site, "tasks?state=scheduled")
    is_live(page)
    page.evaluate("window.isTheSame = true")
    chosen = page.get_by_label("Choose later-20")
    chosen.check()
    page.locator("#search").fill("half a wo")
    page.evaluate("window.scrollTo(0, 300)")

    site.run(later(40, 45))
    page.get_by_role("link", name="later-44").wait_for(state="attached")

    assert page.evaluate("window.isTheSame")
    assert chosen.is_checked()
    assert page.locator("#search").input_value() == "half a wo"
    assert page.evaluate("document.activeElement.id") == "search"
    assert page.evaluate("scrollY") == 300
    assert page.locator("td.pick input:checked").count() == 1


def test_an_unfolded_traceback_stays_so_while_the_page_changes(site: Site, open_page: Any) -> None:
    site.run(site.add(send_invoice, "broken", "hooli"))
    site.run(site.until("broken", "failed"))
    page = open_page(site, "task?key=broken")
    is_live(page)
    page.locator("details summary").first.click()

    site.run(site.docket.retry("broken"))
    page.get_by_text("Attempt 4: failed").or_(
        page.get_by_text("An earlier execution")
    ).first.wait_for()

    assert page.locator("details").first.get_attribute("open") is not None


def test_nothing_is_followed_while_the_page_is_hidden(site: Site, open_page: Any) -> None:
    page = open_page(site, "tasks")
    is_live(page)

    page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.get_by_text("paused", exact=True).wait_for()
    site.run(site.nobody_follows())
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: false, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    is_live(page)


def test_a_page_follows_again_when_the_dashboard_is_back(
    site: Site, open_page: Any, complaints: list[str]
) -> None:
    page = open_page(site, "tasks")
    is_live(page)

    site.hang_up()
    page.get_by_text("connecting again").wait_for()
    site.serve()
    is_live(page)
    site.run(site.add(send_invoice, "after-it", "acme"))
    page.get_by_role("link", name="after-it").wait_for()

    # The browser says by itself that it could not connect.
    assert all("ERR_CONNECTION_REFUSED" in each or "ERR_INCOMPLETE" in each for each in complaints)
    complaints.clear()


def test_times_are_in_the_zone_of_the_reader(furnished: Site, open_page: Any) -> None:
    page = open_page(furnished, "task?key=invoice-hooli", timezone_id="Asia/Tokyo", locale="en-GB")

    assert "(Asia/Tokyo)" in (page.locator("time").first.get_attribute("title") or "")


# Actions ----------------------------------------------------------------------------------


def test_a_failed_task_is_retried_by_clicks(site: Site, open_page: Any) -> None:
    site.run(site.add(send_invoice, "broken", "hooli"))
    site.run(site.until("broken", "failed"))
    page = open_page(site, "task?key=broken")

    act(page, "Retry")

    page.get_by_text("Retried 1 of 1 task.").wait_for()
    details = site.run(site.docket.describe("broken"))
    assert details is not None
    assert details.summary.predecessor is not None
    page.goto(site.address + "audit")
    assert "127.0.0.1" in page.locator("tbody").inner_text()


def test_all_of_a_filter_are_cancelled_by_clicks(site: Site, open_page: Any) -> None:
    for number in range(3):
        due = now() + timedelta(hours=1)
        site.run(site.add(send_invoice, f"later-{number}", "acme", when=due))
    page = open_page(site, "tasks?state=scheduled&key_prefix=later")

    page.locator("a.button", has_text="Cancel").click()
    assert "3 tasks match now" in page.locator("form.confirm").inner_text()
    page.locator("form.confirm button").click()

    page.get_by_text("Cancelled 3 of 3 tasks.").wait_for()
    assert "key_prefix=later" in page.url


def test_chosen_tasks_are_rescheduled_and_run_by_clicks(site: Site, open_page: Any) -> None:
    for key in ("one", "two", "three"):
        site.run(site.add(send_invoice, key, "acme", when=now() + timedelta(days=1)))
    page = open_page(site, "tasks?state=scheduled")

    page.get_by_label("Choose one").check()
    page.get_by_label("Choose two").check()
    page.get_by_role("button", name="Reschedule").click()
    page.get_by_label("New time").select_option("1h")
    page.locator("form.confirm button").click()
    page.get_by_text("Rescheduled 2 of 2 tasks.").wait_for()
    page.get_by_label("Choose three").check()
    page.get_by_role("button", name="Run").click()
    page.locator("form.confirm button").click()
    page.get_by_text("Let run 1 of 1 task.").wait_for()

    site.run(site.until("three", "completed"))


def test_a_function_is_paused_resumed_struck_and_restored_by_clicks(
    site: Site, open_page: Any
) -> None:
    page = open_page(site, "functions")

    act(page, "Pause send_invoice")
    page.get_by_text("send_invoice is paused.").wait_for()
    (pause,) = site.run(site.docket.pauses())
    assert pause.function == "send_invoice"
    act(page, "Resume send_invoice")
    page.get_by_text("send_invoice goes on.").wait_for()

    page.get_by_role("link", name="Strike send_invoice").click()
    page.get_by_label("Parameter").fill("customer")
    page.get_by_label("Value").fill("acme")
    page.get_by_label("Reason").fill("they left")
    page.locator("form.confirm button").click()
    page.get_by_text("Struck: send_invoice customer == 'acme'.").wait_for()
    (strike,) = site.run(site.docket.strikes())
    assert (strike.value, strike.reason) == ("acme", "they left")
    page.goto(site.address + "holds")
    page.get_by_role("link", name="Restore send_invoice").click()
    page.locator("form.confirm button").click()
    page.get_by_text("Restored: send_invoice").wait_for()
    assert site.run(site.docket.strikes()) == []


# Keys -------------------------------------------------------------------------------------


def test_the_keyboard_is_enough(furnished: Site, open_page: Any) -> None:
    page = open_page(furnished, "")
    page.keyboard.press("/")
    page.locator("#search:focus").wait_for()
    page.keyboard.type("invoice-")
    page.keyboard.press("Enter")
    page.wait_for_url(SEARCHED)

    for key in ("j", "j", "k"):
        page.keyboard.press(key)
    first = page.locator("[data-row]").first
    assert first.get_attribute("data-chosen") is not None
    name = first.locator("a.open").inner_text()
    page.keyboard.press("o")
    page.locator("h1.keyed").wait_for()
    assert page.locator("h1").inner_text() == name
    page.keyboard.press("u")
    page.wait_for_url(SEARCHED)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.locator("h1.keyed").wait_for()
    page.keyboard.press("Backspace")
    page.wait_for_url(SEARCHED)


def test_the_focus_can_be_seen(furnished: Site, open_page: Any) -> None:
    page = open_page(furnished, "tasks")

    page.keyboard.press("Tab")
    page.keyboard.press("Tab")

    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"


def test_nothing_moves_for_those_who_ask_for_that(furnished: Site, open_page: Any) -> None:
    page = open_page(furnished, "", reduced_motion="reduce")
    is_live(page)

    moving = "document.getAnimations().length"
    assert page.evaluate(moving) == 0
