"""The commands that list, on a terminal of 50 columns."""

import re
from datetime import timedelta

import pytest

from docket import Docket, Worker
from tests.support import cli_tasks
from tests.support.dockets import soon
from tests.support.terminals import lines_without_colors, run_docket_on_terminal

pytestmark = pytest.mark.anyio

COLUMNS = 50


async def refuse_an_order_that_cannot_be_delivered(order: str = "") -> None:
    raise ValueError("the warehouse has no stock, and says that none will come this year")


@pytest.fixture
async def busy(docket: Docket) -> Docket:
    """A docket with something to show for each command."""
    docket.register(refuse_an_order_that_cannot_be_delivered)
    refuse = docket.add(refuse_an_order_that_cannot_be_delivered, key="order-" + "1" * 40)
    await refuse()
    await docket.add(cli_tasks.greet, key="greeting")("Ann")
    await soon(Worker(docket).run_until_finished())
    why = {"reason": "the mail server is down until tomorrow", "by": "ann@example.com"}
    await docket.pause("greet", until=timedelta(hours=3), **why)
    await docket.strike("greet", "name", "==", "Bob", **why)
    return docket


async def shown(on: tuple[str, ...], *words: str) -> list[str]:
    code, output = await run_docket_on_terminal(*words, *on, columns=COLUMNS)
    assert code == 0, output
    lines = lines_without_colors(output)
    # A single word that is longer is the terminal's to break.
    assert [line for line in lines if len(line) > COLUMNS and len(line.split()) > 1] == []
    return lines


def is_in(lines: list[str], pattern: str) -> bool:
    return re.search(pattern, "\n".join(lines)) is not None


@pytest.mark.usefixtures("busy")
async def test_ls_keeps_state_key_and_error(on: tuple[str, ...]) -> None:
    lines = await shown(on, "ls")

    assert is_in(lines, r"┃ State +┃ Key +┃ Error +┃")
    assert is_in(lines, r"│ failed +│ order\S*\.\.\.1+ +│ ValueError: the +│")
    assert is_in(lines, r"│ completed │ greeting +│ +│")
    assert lines[-1].startswith("no room for: Call, When")


@pytest.mark.usefixtures("busy")
async def test_show_wraps_between_words_and_never_breaks_a_key(on: tuple[str, ...]) -> None:
    lines = await shown(on, "show", "order-" + "1" * 40)

    assert is_in(lines, "order-" + "1" * 40)
    assert is_in(lines, r"Error:     ValueError: the warehouse has no stock,\n  and says")
    assert not is_in(lines, r"\^\^\^")


@pytest.mark.usefixtures("busy")
async def test_stats_keep_runs_and_failures(on: tuple[str, ...]) -> None:
    lines = await shown(on, "stats")

    assert is_in(lines, r"┃ Function +┃ Runs ┃ +Failed ┃")
    assert is_in(lines, r"│ refuse\S*\.\.\.\S+ +│ +1 │ 1 \(100\.0%\) │")
    assert is_in(lines, "paused by\\s+1 pause,")


@pytest.mark.usefixtures("busy")
async def test_pauses_keep_their_end_and_reason(on: tuple[str, ...]) -> None:
    lines = await shown(on, "pauses")

    assert is_in(lines, r"┃ Function +┃ Until +┃ Reason +┃")
    assert is_in(lines, r"│ greet +│ 20\d\d-\d\d-\d\d[\d: ]+│ the mail server")
    assert lines[-1] == "no room for: Since, By"


@pytest.mark.usefixtures("busy")
async def test_strikes_keep_their_condition(on: tuple[str, ...]) -> None:
    lines = await shown(on, "strikes")

    assert is_in(lines, r"┃ Function +┃ Condition +┃ Reason +┃ By +┃")
    assert is_in(lines, r"│ greet +│ name == +│ the mail +│ ann@\S+ +│\n│ +│ 'Bob' ")
    assert lines[-1] == "no room for: Since"
