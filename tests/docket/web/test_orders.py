"""The actions of the dashboard: asked about, carried out, written down."""

import asyncio
import logging
from datetime import timedelta

import pytest

from docket import Docket, ExecutionState, Worker
from docket.clock import now
from docket.listing import ListedState
from docket.web import performance
from tests.docket.web.conftest import Serve
from tests.support.dockets import finish, found, soon
from tests.support.web_client import Browser

pytestmark = pytest.mark.anyio


async def greet(name: str = "Ann") -> None: ...


async def break_down() -> None:
    raise ValueError("no address")


def act(docket: Docket, action: str, query: str = "") -> str:
    return f"/d/{docket.name}/act/{action}?{query}"


async def failed(docket: Docket, *keys: str) -> None:
    for key in keys:
        await docket.add(break_down, key=key)()
    await finish(docket)


async def states(docket: Docket) -> dict[str, str]:
    page = await docket.executions()
    return {each.key: each.state.value for each in page.executions}


async def test_opening_the_page_that_asks_changes_nothing(docket: Docket, browser: Browser) -> None:
    await failed(docket, "broken")

    asked = await browser.get(act(docket, "retry", "key=broken"))

    assert "Retry 1 task" in asked.words
    assert await states(docket) == {"broken": "failed"}
    posted = await browser.post(act(docket, "retry"), [("key", "broken")])
    assert posted.status == 200
    assert await states(docket) == {"broken": "failed"}


async def test_a_failed_task_is_retried_and_it_is_written_down(
    docket: Docket, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    await failed(docket, "broken")

    with caplog.at_level(logging.INFO, "docket.audit"):
        done = await browser.confirm(act(docket, "retry", "key=broken"), reason="mended")

    assert "Retried 1 of 1 task." in done.words
    assert await states(docket) == {"broken": "queued"}
    (written,) = await docket.recorded_acts()
    assert (written.act, written.target, written.outcome) == (
        "retry",
        "broken",
        "Retried 1 of 1 task.",
    )
    assert (written.by, written.origin, written.reason) == ("-", "127.0.0.1", "mended")
    assert abs(now() - written.at) < timedelta(minutes=1)
    assert "retry broken by - from 127.0.0.1: Retried 1 of 1 task." in caplog.text
    audit = await browser.get(f"/d/{docket.name}/audit")
    assert "retry broken Retried 1 of 1 task. mended" in audit.words


async def test_a_notice_is_shown_once(docket: Docket, browser: Browser) -> None:
    await failed(docket, "broken")
    asked = await browser.get(act(docket, "retry", "key=broken"))

    done = await browser.post(act(docket, "retry"), asked.fields())
    location = done.header("location")

    assert "Retried" in (await browser.get(location)).words
    assert "Retried" not in (await browser.get(location)).words


async def test_a_scheduled_task_runs_now_gets_another_time_and_is_cancelled(
    docket: Docket, browser: Browser
) -> None:
    for key in ("one", "two", "three"):
        await docket.add(greet, now() + timedelta(days=1), key=key)()

    assert "Let run 1 of 1 task" in (await browser.confirm(act(docket, "run", "key=one"))).words
    moved = await browser.confirm(act(docket, "reschedule", "key=two"), delay="1h")
    assert "Rescheduled 1 of 1 task" in moved.words
    assert "Cancelled 1" in (await browser.confirm(act(docket, "cancel", "key=three"))).words

    assert await states(docket) == {"one": "queued", "two": "scheduled", "three": "cancelled"}
    due = (await found(docket, "two")).when - now()
    assert timedelta(minutes=58) < due < timedelta(minutes=61)


async def test_an_instant_can_be_given_and_needs_its_zone(docket: Docket, browser: Browser) -> None:
    await docket.add(greet, now() + timedelta(days=1), key="one")()

    await browser.confirm(act(docket, "reschedule", "key=one"), at="2040-01-31T18:00+01:00")
    assert (await found(docket, "one")).when.isoformat() == "2040-01-31T17:00:00+00:00"
    asked = await browser.get(act(docket, "reschedule", "key=one"))
    fields = [pair for pair in asked.fields() if pair[0] != "at"]
    refused = await browser.post(act(docket, "reschedule"), [*fields, ("at", "2040-01-31T18:00")])

    assert refused.status == 400
    assert "with its time zone" in refused.words


async def test_many_that_a_filter_means_are_counted_before_and_after(
    docket: Docket, browser: Browser
) -> None:
    await failed(docket, *(f"broken-{n}" for n in range(70)))
    await docket.add(greet, key="other")()

    asked = await browser.get(act(docket, "retry", "by=filter&state=failed&key_prefix=broken"))
    assert "70 tasks match now" in asked.words
    done = await browser.confirm(act(docket, "retry", "by=filter&state=failed&key_prefix=broken"))

    assert "Retried 70 of 70 tasks." in done.words
    assert set((await states(docket)).values()) == {"queued"}
    assert (await docket.recorded_acts())[0].target == (
        "all: failed, with keys that begin with 'broken'"
    )


async def test_a_bulk_is_bounded_and_says_so(
    docket: Docket, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(performance, "MOST_IN_BULK", 64)
    await failed(docket, *(f"broken-{n:03}" for n in range(80)))

    done = await browser.confirm(act(docket, "retry", "by=filter&state=failed"))

    assert "Retried 64 of 64 tasks. There may be more" in done.words
    assert (await docket.counts_by_state())[ListedState.FAILED] == 16


async def test_one_bulk_is_at_work_at_a_time(
    docket: Docket, browser: Browser, serve: Serve
) -> None:
    await failed(docket, "broken")
    asked = await browser.get(act(docket, "retry", "by=filter&state=failed"))
    site = browser.app.app.state.site

    async with site.bulk:
        refused = await browser.post(act(docket, "retry"), asked.fields())

    assert refused.status == 429
    assert await states(docket) == {"broken": "failed"}
    assert (await docket.recorded_acts())[0].outcome.startswith("refused: Another bulk")


async def test_chosen_tasks_are_acted_on_together_and_failures_are_named(
    docket: Docket, browser: Browser
) -> None:
    await failed(docket, "broken")
    await docket.add(greet, key="waits")()
    chosen = [("task", "broken"), ("task", "waits")]

    asked = await browser.post(act(docket, "retry"), chosen)
    assert "Retry 2 tasks" in asked.words
    done = await browser.post(act(docket, "retry"), asked.fields())
    shown = await browser.get(done.header("location"))

    assert "Retried 1 of 2 tasks." in shown.words
    assert "Task 'waits' cannot be retried: it is queued" in shown.words


async def test_a_key_with_line_breaks_is_acted_on(docket: Docket, browser: Browser) -> None:
    key = 'a\r\nb\x00<\u2028>"&\n'
    await docket.add(greet, now() + timedelta(days=1), key=key)()
    listed = await browser.get(f"/d/{docket.name}/tasks")
    (box,) = [part.split('"')[0] for part in listed.text.split('name="task" value="')[1:]]

    asked = await browser.post(act(docket, "cancel"), [("task", box)])
    await browser.post(act(docket, "cancel"), asked.fields())

    assert await states(docket) == {key: "cancelled"}


async def test_a_function_is_paused_for_a_time_and_resumed(
    docket: Docket, browser: Browser
) -> None:
    docket.register(greet)
    await browser.confirm(
        act(docket, "pause", "function=greet"), length="1h", reason="a deployment"
    )

    (pause,) = await docket.pauses()
    assert (pause.function, pause.reason, pause.by) == ("greet", "a deployment", "-")
    assert pause.until is not None
    assert timedelta(minutes=58) < pause.until - now() <= timedelta(hours=1)
    done = await browser.confirm(act(docket, "resume", "function=greet"))
    assert "greet goes on." in done.words
    assert await docket.pauses() == []


async def test_the_docket_is_paused_until_it_is_resumed(docket: Docket, browser: Browser) -> None:
    await browser.confirm(act(docket, "pause"))
    (pause,) = await docket.pauses()
    assert (pause.function, pause.until) == (None, None)

    assert "goes on" in (await browser.confirm(act(docket, "resume"))).words
    assert "was not paused" in (await browser.confirm(act(docket, "resume"))).words


@pytest.mark.parametrize(
    ("filled", "value"),
    [
        ({"value": "acme"}, "acme"),
        ({"value": "7", "type": "integer"}, 7),
        ({"value": "0.5", "type": "number"}, 0.5),
        ({"value": "true", "type": "true or false"}, True),
        ({"value": "1, 5", "type": "integer", "operator": "between"}, (1, 5)),
    ],
)
async def test_calls_are_struck_and_restored(
    docket: Docket, browser: Browser, filled: dict[str, str], value: object
) -> None:
    await browser.confirm(
        act(docket, "strike", "function=greet"), parameter="name", reason="they left", **filled
    )

    (strike,) = await docket.strikes()
    assert (strike.function, strike.parameter, strike.value) == ("greet", "name", value)
    assert type(strike.value) is type(value)
    holds = await browser.get(f"/d/{docket.name}/holds")
    (link,) = [part.split('"')[0] for part in holds.text.split('href="') if "act/restore" in part][
        :1
    ]
    done = await browser.confirm(link.replace("&amp;", "&"))
    assert "Restored: greet, name" in done.words
    assert await docket.strikes() == []


@pytest.mark.parametrize(
    "filled",
    [
        {"function": "", "parameter": ""},
        {"parameter": "name", "type": "integer", "value": "seven"},
        {"parameter": "name", "type": "true or false", "value": "perhaps"},
        {"parameter": "name", "operator": "between", "value": "1"},
        {"parameter": "name", "operator": "like", "value": "1"},
    ],
)
async def test_a_strike_that_makes_no_sense_is_refused(
    docket: Docket, browser: Browser, filled: dict[str, str]
) -> None:
    form = [("confirmed", "yes"), *filled.items()]

    assert (await browser.post(act(docket, "strike"), form)).status == 400
    assert await docket.strikes() == []


async def test_what_changed_meanwhile_is_told(docket: Docket, browser: Browser) -> None:
    await failed(docket, "broken")
    asked = await browser.get(act(docket, "retry", "key=broken"))
    await docket.retry("broken")

    done = await browser.post(act(docket, "retry"), asked.fields())
    shown = await browser.get(done.header("location"))

    assert "Retried 0 of 1 task." in shown.words
    assert 'role="alert"' in shown.text
    assert (await docket.recorded_acts())[0].outcome == "Retried 0 of 1 task."


async def test_a_running_task_is_cancelled(docket: Docket, browser: Browser) -> None:
    started = asyncio.Event()

    async def wait_long() -> None:
        started.set()
        await asyncio.Event().wait()

    async with Worker(docket) as worker:
        execution = await docket.add(wait_long, key="long")()
        running = asyncio.create_task(worker.run_until_finished())
        await soon(started.wait())
        await browser.confirm(act(docket, "cancel", "key=long"))
        await soon(running)
    await execution.sync()

    assert execution.state is ExecutionState.CANCELLED


@pytest.mark.parametrize("name", ["view", "scale", "reload", "explode"])
async def test_an_action_that_is_not_there_is_refused(
    docket: Docket, browser: Browser, name: str
) -> None:
    answer = await browser.post(act(docket, name), [("confirmed", "yes")])

    assert answer.status in (403, 404)


async def test_the_audit_log_has_older_pages(docket: Docket, browser: Browser) -> None:
    for number in range(60):
        await docket.record_act("retry", f"task-{number}", "done", by="ann", origin="here")

    newest = await browser.get(f"/d/{docket.name}/audit")
    older = await browser.get(f"/d/{docket.name}/audit?first=50")

    assert "task-59" in newest.words
    assert "task-9 " not in newest.words
    assert "task-9 " in older.words
    assert (await browser.get(f"/d/{docket.name}/audit?first=-1")).status == 400
