"""`docket ls`, `docket show`, `docket retry`, `docket run` and `docket cancel`."""

import json
from datetime import timedelta
from typing import Any

import pytest

from docket import Docket, Worker
from docket.clock import now
from docket.listing import ListedState
from tests.support import cli_tasks
from tests.support.dockets import soon
from tests.support.programs import run_docket
from tests.support.terminals import run_docket_on_terminal

pytestmark = pytest.mark.anyio


async def refuse(order: str = "") -> None:
    raise ValueError(f"no stock\n\x1b[31mfor {order}")


@pytest.fixture
async def failed(docket: Docket) -> list[str]:
    docket.register(refuse)
    for number in range(3):
        await docket.add(refuse, key=f"order-{number}")(str(number))
    await soon(Worker(docket).run_until_finished())
    return ["order-0", "order-1", "order-2"]


async def state_of(docket: Docket, key: str) -> ListedState:
    details = await docket.describe(key)
    assert details is not None
    return details.summary.state


async def as_json(*words: str) -> Any:
    code, output, errors = await run_docket(*words, "--json")
    assert (code, errors) == (0, "")
    return json.loads(output)


# ls ----------------------------------------------------------------------------------------------


async def test_ls_shows_a_row_for_each_execution(docket: Docket, on: tuple[str, ...]) -> None:
    await docket.add(cli_tasks.greet, now() + timedelta(minutes=5), key="soon")("Ann")
    await docket.add(cli_tasks.greet, key="due")("Ann")

    code, output, errors = await run_docket("ls", *on)

    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert lines[0] == f"Executions on Docket: {docket.name}"
    assert lines[1].split() == ["State", "Key", "Call", "When", "Attempt", "Worker", "Error"]
    assert [line.split()[:2] for line in lines[2:]] == [["queued", "due"], ["scheduled", "soon"]]


@pytest.mark.usefixtures("failed")
async def test_ls_filters_and_escapes_what_would_reach_the_terminal(on: tuple[str, ...]) -> None:
    code, output, _ = await run_docket("ls", *on, "--state", "failed", "--since", "1h")

    assert code == 0
    assert len(output.splitlines()) == 5
    assert "\x1b" not in output
    assert "order-1" in output


@pytest.mark.usefixtures("failed")
async def test_ls_goes_on_by_its_cursor(on: tuple[str, ...]) -> None:
    first = await as_json("ls", *on, "--state", "failed", "--limit", "2")
    rest = await as_json(
        "ls", *on, "--state", "failed", "--limit", "2", "--cursor", first["cursor"]
    )

    keys = [one["key"] for one in first["executions"] + rest["executions"]]
    assert keys == ["order-2", "order-1", "order-0"]
    assert rest["cursor"] is None


async def test_ls_of_nothing_says_so(on: tuple[str, ...]) -> None:
    code, output, _ = await run_docket("ls", *on, "--function", "none")

    assert code == 0
    assert output.endswith("Nothing matches.\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cursor", "nonsense"], "no cursor"),
        (["--state", "done"], "is not one of 'running'"),
        (["--since", "yesterday"], "neither a duration such as 1h, nor an instant with its"),
        (["--since", "1h", "--until", "2h"], "nothing can match"),
    ],
)
async def test_ls_refuses_what_it_cannot_read(
    on: tuple[str, ...], words: list[str], said: str
) -> None:
    code, _, errors = await run_docket("ls", *on, *words)

    assert code == 2
    assert said in errors


# show --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("failed")
async def test_show_tells_each_attempt_with_its_traceback(on: tuple[str, ...]) -> None:
    code, output, errors = await run_docket("show", *on, "order-1")

    assert (code, errors) == (0, "")
    assert "State:     failed" in output
    assert "Attempt 1: failed on " in output
    assert "in refuse" in output
    assert "\x1b" not in output


@pytest.mark.usefixtures("failed")
async def test_show_for_programs_has_all_of_it(on: tuple[str, ...]) -> None:
    details = await as_json("show", *on, "order-1")

    assert details["summary"]["state"] == "failed"
    assert [attempt["how"] for attempt in details["attempts"]] == ["failed"]


async def test_show_of_a_key_that_is_not_there_fails(on: tuple[str, ...]) -> None:
    code, _, errors = await run_docket("show", *on, "none")

    assert code == 1
    assert "There is no record of task none" in errors


# Acts --------------------------------------------------------------------------------------------


async def test_a_key_is_retried_run_and_cancelled(
    docket: Docket, failed: list[str], on: tuple[str, ...]
) -> None:
    await docket.add(cli_tasks.greet, now() + timedelta(hours=1), key="later")("Ann")

    assert (await run_docket("retry", *on, failed[0]))[:2] == (0, "Retried 1 of 1\n")
    assert (await run_docket("run", *on, "later"))[:2] == (0, "Let run 1 of 1\n")
    assert await state_of(docket, failed[0]) is ListedState.QUEUED
    assert await state_of(docket, "later") is ListedState.QUEUED
    assert (await run_docket("cancel", *on, "later"))[:2] == (0, "Cancelled 1 of 1\n")
    assert await state_of(docket, "later") is ListedState.CANCELLED


async def test_what_cannot_be_acted_on_is_said_and_the_rest_is_done(
    docket: Docket, failed: list[str], on: tuple[str, ...]
) -> None:
    await docket.add(cli_tasks.greet, key="waits")("Ann")

    code, output, errors = await run_docket("retry", *on, "--yes", "waits", "none", failed[0])

    assert code == 1
    assert output == "Retried 1 of 3\n"
    assert "'waits' cannot be retried: it is queued" in errors
    assert "Cannot retry task 'none'" in errors


@pytest.mark.usefixtures("failed")
async def test_all_that_a_filter_means_are_retried_once_that_is_confirmed(
    docket: Docket, on: tuple[str, ...]
) -> None:
    code, _, errors = await run_docket("retry", *on, "--function", "refuse")
    assert code == 1
    assert "Retry 3 tasks?" in errors
    assert (await docket.counts()).by_state[ListedState.FAILED] == 3

    code, output, _ = await run_docket("retry", *on, "--function", "refuse", "--yes")

    assert (code, output) == (0, "Retried 3 of 3\n")
    assert (await docket.counts()).by_state[ListedState.QUEUED] == 3


@pytest.mark.usefixtures("failed")
async def test_on_a_terminal_it_asks_and_shows_its_progress(
    docket: Docket, on: tuple[str, ...]
) -> None:
    code, shown = await run_docket_on_terminal("retry", *on, "--state", "failed", "--yes")

    assert code == 0
    assert "Retried 3 of 3" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Name tasks: by their keys, or by options such as --state"),
        (["--yes"], "Name tasks: by their keys"),
        (["key", "--state", "failed"], "not both"),
    ],
)
async def test_keys_or_a_filter_are_needed_and_not_both(
    on: tuple[str, ...], words: list[str], said: str
) -> None:
    code, _, errors = await run_docket("cancel", *on, *words)

    assert code == 2
    assert said in errors


async def test_a_state_that_an_act_does_not_apply_to_is_refused(on: tuple[str, ...]) -> None:
    code, _, errors = await run_docket("retry", *on, "--state", "running")

    assert code == 2
    assert "applies to executions that are failed, cancelled" in errors


@pytest.mark.usefixtures("failed")
async def test_the_result_for_programs_counts_what_was_left_alone(on: tuple[str, ...]) -> None:
    result = await as_json("retry", *on, "--state", "failed", "--yes")

    assert result == {"matched": 3, "done": 3, "skipped": {}}
