"""`docket strike` and `docket restore`."""

import pytest

from docket import Disposition, Docket
from tests.support import cli_tasks
from tests.support.dockets import soon
from tests.support.programs import run_docket

pytestmark = pytest.mark.anyio

Options = tuple[str, ...]


async def struck(docket: Docket) -> None:
    """Wait until a strike of another process is in effect in this one."""
    while docket.strike_list.is_empty:
        await docket.add(cli_tasks.anything, key="looks")()


async def restored(docket: Docket) -> None:
    while not docket.strike_list.is_empty:
        await docket.add(cli_tasks.anything, key="looks")()


async def test_a_struck_task_is_not_scheduled_until_it_is_restored(
    docket: Docket, on: Options
) -> None:
    code, output, errors = await run_docket("strike", *on, "greet")
    assert (code, output, errors) == (0, "Striking greet\n", "")
    await soon(struck(docket))
    assert (await docket.add(cli_tasks.greet)("Ann")).disposition is Disposition.STRUCK

    code, output, _ = await run_docket("restore", *on, "greet")

    assert (code, output) == (0, "Restoring greet\n")
    await soon(restored(docket))
    assert (await docket.add(cli_tasks.greet)("Ann")).disposition is Disposition.SCHEDULED


async def test_a_value_is_read_as_a_python_literal(docket: Docket, on: Options) -> None:
    code, output, _ = await run_docket("strike", *on, "greet", "name", "between", "('A', 'C')")

    assert (code, output) == (0, "Striking greet name between ('A', 'C')\n")
    await soon(struck(docket))
    assert (await docket.add(cli_tasks.greet)("Bob")).disposition is Disposition.STRUCK
    assert (await docket.add(cli_tasks.greet)("Zoe")).disposition is Disposition.SCHEDULED


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("greet", "name", "==", "Ann"), "greet name == 'Ann'"),
        (("greet", "name", "==", "'Ann'"), "greet name == 'Ann'"),
        (("greet", "name", ">=", "5"), "greet name >= 5"),
        (("greet", "name"), "greet name == None"),
        (("*", "name", "!=", "1.5"), "(all tasks) name != 1.5"),
    ],
)
async def test_it_says_what_it_strikes_and_restores(
    on: Options, arguments: tuple[str, ...], said: str
) -> None:
    assert await run_docket("strike", *on, *arguments) == (0, f"Striking {said}\n", "")
    assert await run_docket("restore", *on, *arguments) == (0, f"Restoring {said}\n", "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "Must provide either a function and/or a parameter"),
        (("*", "*"), "Must provide either a function and/or a parameter"),
        (
            ("greet", "name", "~", "5"),
            "'~' is not one of '==', '!=', '>', '>=', '<', '<=', 'between'",
        ),
        (("greet", "name", "between", "5"), "between needs a pair of values"),
        (("greet", "name", "==", "[1, 2]"), "[1, 2] cannot be compared with"),
    ],
)
async def test_a_condition_that_makes_no_sense_is_wrong_usage(
    on: Options, arguments: tuple[str, ...], complaint: str
) -> None:
    code, output, errors = await run_docket("strike", *on, *arguments)

    assert (code, output) == (2, "")
    assert complaint in errors
