"""The pages of the dashboard, as a reader sees them."""

import os
import re
import socket
from datetime import timedelta
from html import unescape
from typing import Annotated
from urllib.parse import quote

import pytest

from docket import ConcurrencyLimit, Cron, Docket, Logged, Perpetual, Progress, Retry, Worker
from docket.clock import now
from docket.web import app, confirmation
from docket.web.pages import tasks as task_pages
from docket.worker_process import WorkerProcess
from tests.docket.web.conftest import Serve
from tests.support.dockets import Gate, at_work, finish, soon
from tests.support.web_client import Browser

pytestmark = pytest.mark.anyio

PAGES = "tasks functions workers schedules limits holds audit".split()
#: A key that would break out of an attribute, an element, a path or a script.
HOSTILE = "\"'><script>alert(1)</script>&#x3c;/../..%2f\x1b[31m\u202e{{7*7}}"


async def greet(name: Annotated[str, Logged()]) -> None: ...


async def break_down(
    text: str, retry: Retry = Retry(attempts=2, delay=timedelta(milliseconds=1))
) -> None:
    raise ValueError(text)


def home(docket: Docket) -> str:
    return f"/d/{docket.name}/"


async def test_one_docket_is_where_the_dashboard_begins(docket: Docket, browser: Browser) -> None:
    answer = await browser.get("/")

    assert (answer.status, answer.header("location")) == (303, home(docket))


async def test_several_dockets_are_listed_with_their_numbers(
    docket: Docket, server: str, serve: Serve
) -> None:
    await docket.add(greet)("Ann")
    other = Docket(f"{docket.name}/other", server)

    answer = await serve(other).get("/")

    assert answer.status == 200
    assert f"{docket.name} 1" in answer.words
    assert f'href="/d/{docket.name}-other/"' in answer.text


async def test_an_empty_docket_says_what_to_do_on_every_page(
    docket: Docket, browser: Browser
) -> None:
    overview = await browser.get(home(docket))
    assert "Nothing ran in this time" in overview.words
    assert "No failure is kept" in overview.words
    for page, says in {
        "tasks": "There are no tasks",
        "functions": "No function is known",
        "workers": "No worker is alive",
        "schedules": "Nothing runs again and again",
        "limits": "No limit is in use",
        "holds": "Nothing is paused",
        "audit": "Nobody has done anything here yet",
    }.items():
        answer = await browser.get(home(docket) + page)
        assert answer.status == 200
        assert says in answer.words


async def test_the_overview_has_the_numbers_and_the_functions(
    docket: Docket, browser: Browser
) -> None:
    for number in range(3):
        await docket.add(greet)(f"{number}")
    await docket.add(break_down, key="broken")("no address")
    await finish(docket)
    await docket.add(greet, now() + timedelta(days=1))("later")

    answer = await browser.get(home(docket))

    assert "Failed 1 kept" in answer.words
    assert "Scheduled 1 for later" in answer.words
    assert "greet 3" in answer.words
    assert "break_down 2" in answer.words
    assert "ValueError: no address" in answer.words
    assert "<svg" in answer.text


async def test_work_that_waits_without_a_worker_is_a_loud_banner(
    docket: Docket, browser: Browser
) -> None:
    await docket.add(greet)("Ann")

    answer = await browser.get(home(docket))

    assert "1 task waits, the oldest for" in answer.words
    assert "no worker is alive" in answer.words
    assert 'class="banner alarm" role="alert"' in answer.text


async def test_a_paused_docket_is_a_loud_banner(docket: Docket, browser: Browser) -> None:
    await docket.pause(reason="the database moves", by="ann")

    answer = await browser.get(home(docket))

    assert "The whole docket is paused by ann: the database moves" in answer.words


async def test_tasks_are_found_by_every_filter(docket: Docket, browser: Browser) -> None:
    await docket.add(greet, now() + timedelta(hours=1), key="order-1")("Ann")
    await docket.add(greet, now() + timedelta(hours=1), key="invoice-1")("Bob")
    await docket.add(break_down, key="broken-1")("no address")
    await finish_failed(docket)

    async def found(query: str) -> set[str]:
        words = (await browser.get(f"{home(docket)}tasks?{query}")).words
        return {key for key in ("order-1", "invoice-1", "broken-1") if key in words}

    assert await found("") == {"order-1", "invoice-1", "broken-1"}
    assert await found("state=failed") == {"broken-1"}
    assert await found("state=scheduled&state=failed") == {"order-1", "invoice-1", "broken-1"}
    assert await found("function=greet") == {"order-1", "invoice-1"}
    assert await found("key_prefix=order") == {"order-1"}
    assert await found("error=ValueError") == {"broken-1"}
    assert await found("error=KeyError") == set()
    assert await found("state=failed&since=1h") == {"broken-1"}
    assert await found("state=failed&until=2020-01-01T00:00Z") == set()


async def finish_failed(docket: Docket) -> None:
    async with Worker(docket) as worker:
        await soon(worker.run_at_most({"broken-1": 2}))


async def test_tasks_come_in_pages_of_fifty(docket: Docket, browser: Browser) -> None:
    for number in range(60):
        await docket.add(greet, now() + timedelta(hours=1), key=f"order-{number:02}")("Ann")

    first = await browser.get(f"{home(docket)}tasks?state=scheduled&since=24h")
    assert first.text.count('data-label="Key"') == 50
    (link,) = [part.split('"')[0] for part in first.text.split('href="') if "cursor=" in part][:1]
    second = await browser.get(link.replace("&amp;", "&"))

    assert second.text.count('data-label="Key"') == 10
    assert "Next page" not in second.words
    assert "First page" in second.words


@pytest.mark.parametrize(
    "query",
    [
        "cursor=nonsense",
        "state=asleep",
        "since=yesterday",
        "since=2020-01-01",
        "since=2020-01-02T00:00Z&until=2020-01-01T00:00Z",
    ],
)
async def test_a_filter_that_cannot_be_used_is_refused(
    docket: Docket, browser: Browser, query: str
) -> None:
    answer = await browser.get(f"{home(docket)}tasks?{query}")

    assert answer.status == 400


async def test_a_task_shows_every_attempt_with_its_traceback(
    docket: Docket, browser: Browser
) -> None:
    await docket.add(break_down, key="broken")("no address")
    await finish(docket)

    answer = await browser.get(f"{home(docket)}task?key=broken")

    assert "Attempt 1: failed" in answer.words
    assert "Attempt 2: failed" in answer.words
    assert answer.words.count("Traceback (most recent call last)") == 2
    assert "ValueError: no address" in answer.words
    assert "break_down(...)" in answer.words  # The argument is not Logged.


async def test_a_task_that_runs_shows_its_progress_and_its_worker(
    docket: Docket, browser: Browser
) -> None:
    gate = Gate()

    async def count(progress: Progress = Progress()) -> None:
        await progress.set_total(8)
        await progress.increment(3)
        await progress.set_message("counting")
        await gate.pass_through()

    async with Worker(docket, name="here#1") as worker, at_work(worker):
        await docket.add(count, key="counted")()
        await soon(gate.reached.wait())
        answer = await browser.get(f"{home(docket)}task?key=counted")
        workers = await browser.get(f"{home(docket)}workers")
        gate.opened.set()

    assert "3 of 8: counting" in answer.words
    assert "on here#1" in answer.words
    assert "here#1" in workers.words
    assert "counted count" in workers.words


async def test_workers_stand_by_their_hosts_and_processes(docket: Docket, browser: Browser) -> None:
    one, two = Worker(docket, name="one", concurrency=3), Worker(docket, name="two")
    async with at_work(one), at_work(two):
        client = docket.connections.client()
        elsewhere = WorkerProcess(
            host=HOSTILE,
            pid=7,
            started_at=now() - timedelta(hours=3),
            lag_seconds=0.25,
            concurrency=10,
            rss_bytes=80_000_000,
            version="9.9.9",
            supervisor_pid=4242,
            generation=3,
        )
        seconds, _ = await client.time()
        await client.zadd(
            docket.workers_set, {"far.00000000": seconds * 1000, "old#1.00000000": seconds * 1000}
        )
        await client.hset(docket.keys.worker_info("far.00000000"), "info", elsewhere.written())
        answer = await browser.get(f"{home(docket)}workers")

    assert "4 alive on 3 hosts" in answer.words
    assert f"{socket.gethostname()} 2 workers in 1 process" in answer.words
    assert "old 1 worker" in answer.words
    assert "80 MB of memory · version 9.9.9 · supervisor 4242" in answer.words
    assert "far 7 3 3h ago" in answer.words
    assert "250 ms 80 MB 0 of 10" in answer.words
    assert "one " + str(os.getpid()) in answer.words
    assert "0 of 3" in answer.words
    assert "old#1 not told" in answer.words
    assert "<script>" not in answer.text


async def test_a_task_that_waits_shows_its_place_in_line(docket: Docket, browser: Browser) -> None:
    gate = Gate()

    async def sync(
        customer: str, limit: ConcurrencyLimit = ConcurrencyLimit("customer", max_concurrent=1)
    ) -> None:
        await gate.pass_through()

    async with Worker(docket) as worker, at_work(worker):
        await docket.add(sync, key="first")("acme")
        await soon(gate.reached.wait())
        for key in ("second", "third"):
            await docket.add(sync, key=key)("acme")
            while not (await docket.executions("waiting", key_prefix=key)).executions:
                pass
        answer = await browser.get(f"{home(docket)}task?key=third")
        limits = await browser.get(f"{home(docket)}limits")
        gate.opened.set()

    assert "2 of 2 for a slot of customer:acme" in answer.words
    assert "customer:acme 1 1 2 first second third" in limits.words


async def test_schedules_have_their_next_run_last_outcome_and_last_success(
    docket: Docket, browser: Browser
) -> None:
    async def tick(perpetual: Perpetual = Perpetual(every=timedelta(hours=1))) -> None:
        if perpetual.args:
            raise RuntimeError("not today")

    async def fail(perpetual: Perpetual = Perpetual(every=timedelta(hours=1))) -> None:
        raise RuntimeError("not today")

    async def report(cron: Cron = Cron("0 9 * * *")) -> None: ...

    docket.register(report)
    for each in (tick, fail):
        await docket.add(each, key=f"{each.__name__}s")()
    async with Worker(docket) as worker, at_work(worker):
        for key in ("ticks", "fails"):
            while (details := await docket.describe(key)) and details.summary.generation < 2:
                pass
        answer = await browser.get(f"{home(docket)}schedules")

    assert "report automatic report scheduled in" in answer.words
    assert "has not run yet –" in answer.words
    assert "ticks tick scheduled in 59m 59s completed now now" in answer.words
    assert "fails fail scheduled in 59m 59s failed now RuntimeError: not today –" in answer.words


async def test_pauses_and_strikes_are_listed_with_who_and_why(
    docket: Docket, browser: Browser
) -> None:
    await docket.pause("send", reason="the mail server is down", by="ann", until=timedelta(hours=1))
    await docket.strike("sync", "customer", "==", "acme", reason="they left", by="bob")

    answer = await browser.get(f"{home(docket)}holds")

    assert "the mail server is down ann" in answer.words
    assert "sync customer == 'acme'" in answer.words
    assert "they left bob" in answer.words


async def test_what_is_hostile_is_shown_and_does_nothing(docket: Docket, browser: Browser) -> None:
    await docket.add(break_down, key=HOSTILE)("</pre><img src=x onerror=alert(1)>\x1b]0;owned\x07")
    await finish(docket)
    await docket.pause(HOSTILE, reason=HOSTILE, by=HOSTILE)
    await docket.strike(HOSTILE, HOSTILE, "==", HOSTILE, reason=HOSTILE, by=HOSTILE)
    key = quote(HOSTILE, safe="")

    for page in (
        "",
        *PAGES,
        f"task?key={key}",
        "tasks?error=x%22%3E%3Cscript%3E",
        f"act/retry?key={key}",
    ):
        answer = await browser.get(home(docket) + page)
        assert answer.status == 200, page
        assert "<script>alert" not in answer.text
        assert "<img" not in answer.text
        assert "<script>" not in answer.text
        assert "\x1b" not in answer.text
        assert "\u202e" not in answer.text
        assert 'onerror="' not in answer.text
    described = await browser.get(f"{home(docket)}task?key={key}")
    assert "{{7*7}}" in described.words
    assert "onerror=alert(1)" in described.words


async def test_a_search_that_is_not_at_its_end_says_how_far_it_has_looked(
    docket: Docket, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_pages, "LOOKED_AT", 100)
    later = now() + timedelta(hours=1)
    await docket.add_many(
        [docket.call(greet, later, key=f"k{number:04}")("Ann") for number in range(1_200)]
    )

    none_yet = await browser.get(f"{home(docket)}tasks?key_prefix=k1")
    next_page = re.search(r'href="([^"]*)" rel="next"', none_yet.text)
    assert next_page is not None
    on = await browser.get(unescape(next_page[1]))
    some = await browser.get(f"{home(docket)}tasks?key_prefix=k00")
    every = await browser.get(f"{home(docket)}tasks")
    odd = await browser.get(f"{home(docket)}tasks?key_prefix=k1&looked_at=-1%3Cb%3E")

    assert "No match yet, 100 of 1,200 looked at" in none_yet.words
    assert "No match yet, 200 of 1,200 looked at" in on.words
    assert "k0049" in some.words
    assert "50 of 1,200 looked at" in some.words
    assert "looked at" not in every.words
    assert "No match yet, 100 of 1,200 looked at" in odd.words


async def test_a_search_takes_no_longer_than_a_reader_waits(
    docket: Docket, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_pages, "LOOKING_SECONDS", 0.0)
    later = now() + timedelta(hours=1)
    await docket.add_many(
        [docket.call(greet, later, key=f"k{number:04}")("Ann") for number in range(1_300)]
    )

    answer = await browser.get(f"{home(docket)}tasks?function=nothing")

    assert "No match yet, 1,050 of 1,300 looked at" in answer.words


async def test_a_bulk_says_how_many_it_would_act_on_and_among_how_many(
    docket: Docket, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = now() + timedelta(hours=1)
    await docket.add_many(
        [docket.call(greet, later, key=f"k{number:03}")("Ann") for number in range(300)]
    )
    address = f"{home(docket)}act/cancel?by=filter&state=scheduled&key_prefix="

    every = await browser.get(f"{address}k")
    monkeypatch.setattr(confirmation, "LOOKED_AT", 100)
    some = await browser.get(f"{address}k")
    unknown = await browser.get(f"{address}k2")
    nothing = await browser.get(f"{home(docket)}act/cancel?by=filter&state=queued&key_prefix=k")

    assert "300 tasks match now." in every.words
    assert "100 or more tasks match now, by the first 100 that were looked at" in some.words
    assert "any number of tasks match now, by the first 100" in unknown.words
    assert "Cancel any number of tasks Leave it" in unknown.words
    assert "0 tasks match now." in nothing.words


async def test_a_task_without_a_record_says_so(docket: Docket, browser: Browser) -> None:
    answer = await browser.get(f"{home(docket)}task?key=nothing")

    assert answer.status == 200
    assert "There is no record of this task" in answer.words


@pytest.mark.parametrize(
    "path",
    [
        "/d/other/",
        "/nothing",
        "/d/../static/docket.css",
        "/static/../site.py",
        "/static/..%2fsite.py",
        "/static/%2e%2e/site.py",
        "/d//",
        "/d/x/act/view",
    ],
)
async def test_what_is_not_there_is_not_found(browser: Browser, path: str) -> None:
    answer = await browser.get(path)

    assert answer.status == 404
    assert "def " not in answer.text


async def test_a_page_is_live_for_those_who_follow_it(docket: Docket, browser: Browser) -> None:
    async with (
        browser.events(f"{home(docket)}tasks") as first,
        browser.events(f"{home(docket)}tasks") as second,
    ):
        for events in (first, second):
            assert await soon(events.get()) == "status 200"
            assert await soon(events.get()) == "retry: 3000\n\n"
            assert "There are no tasks" in await soon(events.get())
        await docket.add(greet, key="order-1")("Ann")
        for events in (first, second):
            event = await soon(events.get())
            assert event.startswith("event: page\n")
            assert "order-1" in event
            assert "<html" not in event


async def test_a_server_that_is_away_is_told_and_not_an_error_of_ours(
    docket_name: str, unused_port: int
) -> None:
    docket = Docket(docket_name, f"redis://127.0.0.1:{unused_port}")
    browser = Browser(app(docket))
    answer = await browser.get(home(docket))
    await browser.close()

    assert answer.status == 503
    assert 'http-equiv="refresh"' in answer.text
