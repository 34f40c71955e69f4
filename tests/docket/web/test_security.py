"""The dashboard keeps out whom it should, and lets no page of others act in somebody's name."""

import base64
import re
from collections.abc import Mapping

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Mount

from docket import Docket
from docket.listing import ListedState
from docket.web import Action, BasicUsers, TrustedHeader, app, loopback_only
from docket.web.password_hashes import hashed, is_hash, matches
from tests.docket.web.conftest import Serve
from tests.support.acl import restricted_server
from tests.support.servers import valkey
from tests.support.web_client import HOST, Browser

pytestmark = pytest.mark.anyio

SECRET = "p@ss:wörd"
USERS = {"ann": hashed(SECRET)}


async def greet() -> None: ...


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


async def waits(docket: Docket) -> bool:
    return (await docket.counts_by_state())[ListedState.QUEUED] == 1


# Who may look -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {"host": "[::1]:8790"}, 200),
        ("::ffff:127.0.0.1", {"host": "localhost:8790"}, 200),
        ("10.0.0.7", {}, 403),
        ("testclient", {}, 403),
        ("127.0.0.1", {"host": "evil.example"}, 403),
        ("127.0.0.1", {"host": "localhost.evil.example"}, 403),
        ("127.0.0.1", {"host": ""}, 403),
        ("127.0.0.1", {"x-forwarded-for": "10.0.0.7"}, 403),
        ("127.0.0.1", {"forwarded": "for=10.0.0.7"}, 403),
        ("127.0.0.1", {"x-real-ip": "10.0.0.7"}, 403),
    ],
)
async def test_without_authorization_only_this_machine_is_let_in(
    docket: Docket, browser: Browser, client: str, headers: dict[str, str], status: int
) -> None:
    browser.client = client

    assert (await browser.get(f"/d/{docket.name}/", headers)).status == status


async def test_every_page_and_action_asks_for_the_password(docket: Docket, serve: Serve) -> None:
    await docket.add(greet, key="one")()
    browser = serve(authorize=BasicUsers(USERS))
    pages = ["", "tasks", "task?key=one", "functions", "workers", "schedules", "limits", "holds"]

    for page in [*pages, "audit", "act/cancel?key=one"]:
        answer = await browser.get(f"/d/{docket.name}/{page}")
        assert answer.status == 401
        assert answer.header("www-authenticate").startswith("Basic ")
        assert "one" not in answer.words
    events = await browser.get(f"/d/{docket.name}/", {"accept": "text/event-stream"})
    assert events.status == 401
    form = [("key", "one"), ("confirmed", "yes")]
    assert (await browser.post(f"/d/{docket.name}/act/cancel", form)).status == 401
    assert await waits(docket)


@pytest.mark.parametrize(
    "headers",
    [
        basic("ann", "wrong"),
        basic("bob", SECRET),
        basic("", ""),
        {"authorization": "Basic ???"},
        {"authorization": f"Bearer {SECRET}"},
        {"authorization": "Basic " + base64.b64encode(b"\xff\xfe").decode()},
        {"authorization": "Basic " + base64.b64encode(USERS["ann"].encode()).decode()},
    ],
)
async def test_a_wrong_password_is_refused(
    docket: Docket, serve: Serve, headers: Mapping[str, str]
) -> None:
    browser = serve(authorize=BasicUsers(USERS))

    assert (await browser.get(f"/d/{docket.name}/", headers)).status == 401


async def test_the_right_password_acts_in_its_name(docket: Docket, serve: Serve) -> None:
    browser = serve(authorize=BasicUsers(USERS))
    browser.headers = basic("ann", SECRET)
    await docket.add(greet, key="one")()

    done = await browser.confirm(f"/d/{docket.name}/act/cancel?key=one")

    assert "Cancelled 1 of 1 task." in done.words
    assert (await docket.recorded_acts())[0].by == "ann"
    assert SECRET not in done.text
    assert USERS["ann"] not in done.text


async def test_a_proxy_is_believed_and_nobody_else(docket: Docket, serve: Serve) -> None:
    browser = serve(authorize=TrustedHeader("X-Forwarded-User", ["10.1.0.0/16"]))
    path, named = f"/d/{docket.name}/holds", {"x-forwarded-user": "ann", "host": "ops.example"}

    browser.client = "10.1.2.3"
    assert (await browser.get(path, named)).status == 200
    assert (await browser.get(path)).status == 403
    assert (await browser.get(path, {"x-forwarded-user": " "})).status == 403
    browser.client = "10.2.0.1"
    assert (await browser.get(path, named)).status == 403
    browser.client = "127.0.0.1"
    assert (await browser.get(path, named)).status == 403


async def test_a_header_that_is_given_twice_is_not_believed(docket: Docket, serve: Serve) -> None:
    browser = serve(authorize=TrustedHeader("X-User"))
    scope = browser.scope("GET", f"/d/{docket.name}/")
    scope["headers"] += [(b"x-user", b"ann"), (b"x-user", b"root")]

    assert TrustedHeader("X-User")(Request(scope), Action.VIEW) is None


async def test_a_callable_decides_by_the_action(docket: Docket, serve: Serve) -> None:
    async def authorize(request: Request, action: Action) -> str | None:
        return "reader" if action is Action.VIEW else None

    browser = serve(authorize=authorize)
    await docket.add(greet, key="one")()

    page = await browser.get(f"/d/{docket.name}/task?key=one")
    assert page.status == 200
    assert "act/cancel" not in page.text
    form = [("key", "one"), ("confirmed", "yes")]
    assert (await browser.post(f"/d/{docket.name}/act/cancel", form)).status == 403
    assert await waits(docket)


async def test_a_callable_may_answer_by_itself(docket: Docket, serve: Serve) -> None:
    def authorize(request: Request, action: Action) -> bool:
        raise HTTPException(402, "First pay the bill.")

    answer = await serve(authorize=authorize).get(f"/d/{docket.name}/")

    assert (answer.status, "First pay the bill." in answer.words) == (402, True)


# What a read-only dashboard needs ----------------------------------------------------------


async def test_a_read_only_dashboard_offers_and_does_nothing(docket: Docket, serve: Serve) -> None:
    await docket.add(greet, key="one")()
    browser = serve(read_only=True)

    for page in ("tasks", "task?key=one", "functions", "holds", "workers"):
        answer = await browser.get(f"/d/{docket.name}/{page}")
        assert answer.status == 200
        assert "/act/" not in answer.text.replace('action="' + f'/d/{docket.name}/act/retry"', "")
        assert "read only" in answer.words
    for action in (each for each in Action if each is not Action.VIEW):
        form = [("key", "one"), ("confirmed", "yes")]
        assert (await browser.post(f"/d/{docket.name}/act/{action.value}", form)).status == 403
        assert (await browser.get(f"/d/{docket.name}/act/{action.value}?key=one")).status == 403
    assert await waits(docket)


async def test_the_observer_of_the_server_is_enough_to_look(docket_name: str) -> None:
    with restricted_server(valkey(), docket_name) as restricted:
        async with Docket(docket_name, restricted.url("worker")) as docket:
            await docket.add(greet, key="one")()
        restricted.denies_nothing()
        browser = Browser(app(Docket(docket_name, restricted.url("observer")), read_only=True))
        for page in ("", "tasks", "task?key=one", "functions", "workers", "schedules", "limits"):
            assert (await browser.get(f"/d/{docket_name}/{page}")).status == 200
        for page in ("holds", "audit", "tasks?error=x"):
            assert (await browser.get(f"/d/{docket_name}/{page}")).status == 200
        await browser.close()
        restricted.denies_nothing()


async def test_it_is_the_server_that_refuses_an_observer_who_acts(docket_name: str) -> None:
    with restricted_server(valkey(), docket_name) as restricted:
        async with Docket(docket_name, restricted.url("worker")) as docket:
            await docket.add(greet, key="one")()
            browser = Browser(app(Docket(docket_name, restricted.url("observer"))))
            asked = await browser.get(f"/d/{docket_name}/act/cancel?key=one")
            done = await browser.post(f"/d/{docket_name}/act/cancel", asked.fields())
            shown = await browser.get(done.header("location"))
            await browser.close()
            assert await waits(docket)

    assert 'role="alert"' in shown.text
    assert "may not" in shown.words or "permission" in shown.words


# Pages of others --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": f"http://{HOST}.evil.example"},
        {"origin": f"http://{HOST}@evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": f"ftp://{HOST}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
    ],
)
async def test_a_form_of_another_origin_does_nothing(
    docket: Docket, browser: Browser, headers: Mapping[str, str]
) -> None:
    await docket.add(greet, key="one")()
    form = [("key", "one"), ("confirmed", "yes")]

    answer = await browser.post(f"/d/{docket.name}/act/cancel", form, headers)

    assert answer.status == 403
    assert await waits(docket)
    assert await docket.recorded_acts() == []


async def test_an_origin_that_a_proxy_hides_can_be_named(docket: Docket, serve: Serve) -> None:
    await docket.add(greet, key="one")()
    form = [("key", "one"), ("confirmed", "yes")]
    path, own = f"/d/{docket.name}/act/cancel", {"origin": "https://ops.example.com"}

    assert (await serve().post(path, form, own)).status == 403
    named = serve(origins=["https://ops.example.com/"])
    assert (await named.post(path, form, own)).status == 303


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b'{"key":"one","confirmed":"yes"}', 415),
        ("text/plain", b"key=one&confirmed=yes", 415),
        ("", b"key=one&confirmed=yes", 415),
        ("application/x-www-form-urlencoded", b"key=" + b"x" * 1_000_001, 413),
        ("application/x-www-form-urlencoded", b"&".join([b"key=x"] * 3_000), 400),
        ("application/x-www-form-urlencoded", b"order=" + b"%26".join([b"a"] * 3_000), 400),
        ("application/x-www-form-urlencoded", b"\xff\xfe=1", 400),
    ],
)
async def test_what_is_no_form_of_ours_is_refused(
    docket: Docket, browser: Browser, kind: str, body: bytes, status: int
) -> None:
    headers = {"content-type": kind, "origin": f"http://{HOST}"}

    answer = await browser.ask("POST", f"/d/{docket.name}/act/cancel", headers, body)

    assert answer.status == status


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_other_methods_are_refused(docket: Docket, browser: Browser, method: str) -> None:
    assert (await browser.ask(method, f"/d/{docket.name}/tasks")).status == 405


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "javascript:alert(1)",
        "/d/../../evil",
        "/other",
        "\r\nSet-Cookie: a=b",
    ],
)
async def test_an_action_leads_back_to_a_page_of_ours(
    docket: Docket, browser: Browser, back: str
) -> None:
    asked = await browser.post(f"/d/{docket.name}/act/pause", [("back", back)])
    assert back not in asked.text
    done = await browser.post(f"/d/{docket.name}/act/pause", [("confirmed", "yes"), ("back", back)])

    assert re.fullmatch(rf"/d/{docket.name}/\?notice=[\w-]+", done.header("location"))
    assert "set-cookie" not in dict(done.headers)


@pytest.mark.parametrize("path", ["/", "/d/{}/", "/d/{}/tasks", "/nothing", "/static/docket.css"])
async def test_every_answer_is_protected(docket: Docket, browser: Browser, path: str) -> None:
    answer = await browser.get(path.format(docket.name))

    policy = answer.header("content-security-policy")
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert answer.header("x-frame-options") == "DENY"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("referrer-policy") == "same-origin"
    if "static" not in path:
        assert answer.header("cache-control") == "no-store"


async def test_an_error_of_ours_tells_nothing_and_is_protected(
    docket: Docket, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(docket, "recurring", broken)
    browser, sent = serve(), []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    with pytest.raises(RuntimeError):  # Starlette tells its server, which logs it.
        await browser.app(browser.scope("GET", f"/d/{docket.name}/schedules"), receive, send)

    assert sent[0]["status"] == 500
    assert b"content-security-policy" in dict(sent[0]["headers"])
    assert b"secret" not in b"".join(each.get("body", b"") for each in sent)


async def test_no_page_has_a_script_or_a_style_of_its_own(docket: Docket, browser: Browser) -> None:
    for page in ("", "tasks", "functions", "workers", "holds", "act/strike"):
        text = (await browser.get(f"/d/{docket.name}/{page}")).text
        assert re.findall(r"<script(?! src=)|<style|\sstyle=|\son\w+=|javascript:", text) == []


# Mounting ---------------------------------------------------------------------------------


async def test_it_is_mounted_at_any_path(docket: Docket) -> None:
    service = Starlette(routes=[Mount("/ops/dockets", app(docket))])
    browser = Browser(service)

    home = await browser.get("/ops/dockets/")
    assert home.header("location") == f"/ops/dockets/d/{docket.name}/"
    page = await browser.get(home.header("location"))

    links = re.findall(r'(?:href|src|action|data-live)="([^"]*)"', page.text)
    assert links
    assert all(link.startswith(("/ops/dockets/", "#")) for link in links)
    for link in links:
        if not link.startswith("#"):
            assert (await browser.get(link.replace("&amp;", "&"))).status in (200, 303)
    await docket.add(greet, key="one")()
    done = await browser.confirm(f"/ops/dockets/d/{docket.name}/act/cancel?key=one")
    assert "Cancelled 1 of 1 task." in done.words


async def test_it_is_mounted_under_fastapi(docket: Docket) -> None:
    fastapi = pytest.importorskip("fastapi", reason="fastapi is not installed")
    service = fastapi.FastAPI()
    service.mount("/docket", app(docket))

    page = await Browser(service).get(f"/docket/d/{docket.name}/tasks")

    assert page.status == 200
    assert f'href="/docket/d/{docket.name}/functions"' in page.text


async def test_it_works_behind_a_proxy_that_takes_a_prefix_away(
    docket: Docket, browser: Browser
) -> None:
    browser.root = "/ops"

    page = await browser.get(f"/ops/d/{docket.name}/tasks")

    assert page.status == 200
    assert f'href="/ops/d/{docket.name}/functions"' in page.text


# Passwords --------------------------------------------------------------------------------


def test_a_hash_is_of_one_password_and_has_a_salt() -> None:
    assert matches("secret", hashed("secret"))
    assert not matches("Secret", hashed("secret"))
    assert hashed("secret") != hashed("secret")


@pytest.mark.parametrize(
    "text",
    ["", "secret", "scrypt$1$8$1$YQ==$YQ==", "scrypt$99999999$8$1$YQ==$YQ==", "bcrypt$2$3$4$5$6"],
)
def test_what_is_no_hash_is_refused(text: str) -> None:
    assert not is_hash(text)
    with pytest.raises(ValueError, match="Users are given"):
        BasicUsers({"ann": text})


def test_loopback_only_is_a_callable_like_any_other(docket_name: str) -> None:
    browser = Browser(None)
    request = Request(browser.scope("GET", "/"))

    assert loopback_only(request, Action.CANCEL)
