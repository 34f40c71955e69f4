"""What a task, or who writes into a docket, cannot do to the terminal and log of an operator."""

import json
import logging
import sys
from collections.abc import AsyncGenerator, Callable
from uuid import uuid4

import pytest

from docket import Docket
from docket.cli.logs import JsonFormatter as DocketJson
from docket.log_text import BoundedFormatter
from supervisor.logs.formats import LogContext, formatter
from tests.support import cli_tasks
from tests.support.dockets import finish, knowing
from tests.support.programs import run_docket

pytestmark = pytest.mark.anyio

FORGED = "2026-01-31 10:00:00.000 CRITICAL docket.worker: forged"
#: A title for the window, a colour, C1's CSI, a change of direction, and a line of its own.
EVIL = f"\x1b]0;owned\x07\x1b[31m\x9b2J\u202eevil\u2066\r\n{FORGED}"


@pytest.fixture
async def docket(server: str) -> AsyncGenerator[Docket]:
    name = f"test-{uuid4().hex}"
    async with knowing(Docket(name=name, url=server), cli_tasks.tasks) as docket:
        yield docket


def check_harmless(output: str, allowed: str = "\n") -> None:
    assert "".join(output.split(allowed)).isprintable(), repr(output)
    assert not [line for line in output.splitlines() if line.startswith("2026-01-31")]


async def test_tables_and_views_show_keys_names_and_errors_escaped(docket: Docket) -> None:
    async def fail() -> None:
        raise ValueError(EVIL)

    on = ("--docket", docket.name, "--url", docket.url)
    docket.register(fail, names=["fail", EVIL])
    await docket.add(fail, key=f"ended{EVIL}")()
    await finish(docket)
    await docket.add(EVIL, key=EVIL)()
    client = docket.connections.client()
    worker = f"{EVIL}.1"
    await client.zadd(docket.workers_set, {worker: 2**53})
    await client.sadd(docket.keys.worker_tasks(worker), EVIL, "fail")

    for command in (
        ("snapshot", *on),
        ("snapshot", *on, "--stats"),
        ("workers", "ls", *on),
        ("workers", "for-task", *on, "fail"),
        ("watch", *on, f"ended{EVIL}"),
        ("watch", *on, f"none{EVIL}"),
    ):
        _, output, errors = await run_docket(*command)
        check_harmless(output + errors)
        assert r"\x1b]0;owned\x07\x1b[31m\x9b2J\u202eevil\u2066\r\n" in output


def records() -> list[logging.LogRecord]:
    try:
        try:
            raise ValueError(EVIL)
        except ValueError as error:
            error.add_note(EVIL)
            raise KeyError(EVIL) from error
    except KeyError:
        exc_info = sys.exc_info()
    arguments = ("docket.worker", logging.ERROR, "f", 1)
    return [
        logging.LogRecord(*arguments, "it said %s", (EVIL,), None),
        logging.LogRecord(*arguments, "it failed", (), exc_info),
        logging.LogRecord(EVIL, logging.ERROR, "f", 1, EVIL, (), exc_info),
    ]


IN_TASK = LogContext("worker 3", 3, lambda: (EVIL, EVIL))


@pytest.mark.parametrize(
    "made",
    [
        lambda: BoundedFormatter("[%(asctime)s] %(levelname)s - %(name)s - %(message)s"),
        lambda: formatter("plain", IN_TASK),
        lambda: formatter("rich", IN_TASK),
    ],
)
def test_lines_of_a_log_hold_no_control_character_and_no_forged_line(
    made: Callable[[], logging.Formatter],
) -> None:
    for record in records():
        text = made().format(record)
        for ours in ("\x1b[2m", "\x1b[0m", "\x1b[31m", "\x1b[36m"):
            text = text.replace(ours, "", 2 if ours != "\x1b[0m" else 4)
        check_harmless(text)


@pytest.mark.parametrize("made", [DocketJson, lambda: formatter("json", IN_TASK)])
def test_lines_in_json_hold_it_as_escapes(made: Callable[[], logging.Formatter]) -> None:
    for record in records():
        line = made().format(record)
        assert line.isprintable()
        assert EVIL in json.loads(line)["message"] or "exception" in line or "exc_info" in line
