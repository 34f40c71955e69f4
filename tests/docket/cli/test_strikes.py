"""`docket strike`, `docket restore` and `docket strikes`."""

import getpass
import json
import socket
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from docket import Disposition, Docket
from docket.cli import strike_values
from tests.support import cli_tasks
from tests.support.dockets import soon
from tests.support.programs import run_docket
from tests.support.terminals import run_docket_on_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.statement(14)]

Options = tuple[str, ...]

UUID_NUMBER = 0x12345678123456781234567812345678


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


@pytest.mark.parametrize(
    ("condition", "struck_values", "others"),
    [
        (("==", "int:5"), [5], ["5", 6]),
        (("==", "5"), ["5"], [5]),
        ((">=", "float:1.5"), [2, 1.5], [1]),
        (("==", "bool:true"), [True], ["true", False]),
        (("==", "uuid.UUID:12345678123456781234567812345678"), [UUID(int=UUID_NUMBER)], ["x"]),
        (("==", "decimal.Decimal:1.10"), [Decimal("1.1")], ["1.1"]),
        (("<", "datetime.timedelta:5"), [timedelta(seconds=4)], [timedelta(seconds=5)]),
        (("between", "int:1,int:5"), [1, 5], [0, 6, "3"]),
        (("between", "A,C"), ["Bob"], ["Zoe"]),
        (("==", ":https://example.com"), ["https://example.com"], [":https://example.com"]),
    ],
    ids=str,
)
async def test_a_value_has_the_type_that_is_written_before_it(
    docket: Docket,
    on: Options,
    condition: tuple[str, str],
    struck_values: list[object],
    others: list[object],
) -> None:
    code, _, errors = await run_docket("strike", *on, "greet", "name", *condition)
    assert (code, errors) == (0, "")
    await soon(struck(docket))

    for value, expected in [
        *((value, Disposition.STRUCK) for value in struck_values),
        *((value, Disposition.SCHEDULED) for value in others),
    ]:
        added = await docket.add(cli_tasks.greet)(value)  # type: ignore[arg-type]
        assert added.disposition is expected, value

    assert (await run_docket("restore", *on, "greet", "name", *condition))[0] == 0
    await soon(restored(docket))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("greet", "name", "==", "Ann"), "greet name == 'Ann'"),
        (("greet", "name", "==", "'Ann'"), "greet name == \"'Ann'\""),
        (("greet", "name", "==", "5"), "greet name == '5'"),
        (("greet", "name", "==", ""), "greet name == ''"),
        (("greet", "name", "==", ":5"), "greet name == '5'"),
        (("greet", "name", ">=", "int:5"), "greet name >= 5"),
        (("greet", "name", "==", "str:5"), "greet name == '5'"),
        (("greet", "name", "==", "bool:TRUE"), "greet name == True"),
        (("greet", "name", "==", "bool:yes"), "greet name == False"),
        (("greet", "name", "==", "bool:"), "greet name == False"),
        (("greet", "name", "==", "decimal.Decimal:1.10"), "greet name == Decimal('1.10')"),
        (("greet", "name", "between", "int:1,int:5"), "greet name between (1, 5)"),
        (("greet", "name"), "greet name == None"),
        (("*", "name", "!=", "float:1.5"), "(all tasks) name != 1.5"),
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
        (("greet", "name", "between", "int:5"), "between needs a pair of values"),
        (("greet", "name", "between", "(1, 5)"), "between needs a pair of values"),
        (("greet", "name", "between", "int:1,int:x"), "'x' is no int to compare with"),
        (("greet", "name", "==", "int:x"), "'x' is no int to compare with (ValueError: "),
        (("greet", "name", "==", "list:ab"), "'ab' is no list to compare with (TypeError: "),
        (("greet", "name", "==", "datetime.date:2026-01-31"), "is no datetime.date to compare"),
        (("greet", "name", "==", "https://example.com"), "'https' is no type: write TYPE:TEXT"),
        (("greet", "name", "==", "no_such.Type:1"), "'no_such.Type' is no type (ModuleNotFound"),
        (("greet", "name", "==", "datetime.Nothing:1"), "'datetime.Nothing' is no type: "),
        (("greet", "name", "==", ".Type:1"), "'.Type' is no type: "),
    ],
)
async def test_a_condition_that_makes_no_sense_is_wrong_usage(
    on: Options, arguments: tuple[str, ...], complaint: str
) -> None:
    code, output, errors = await run_docket("strike", *on, *arguments)

    assert (code, output) == (2, "")
    assert complaint in errors


@pytest.mark.parametrize(
    "value",
    [
        "eval:__import__('os').abort()",
        "exec:__import__('os').abort()",
        "os.system:kill -9 $PPID",
        "__import__:os",
        "int:__import__('os').abort()",
        "lambda x:5",
        "getattr(int,'x').y:5",
    ],
)
def test_nothing_of_a_value_is_evaluated_and_nothing_but_a_class_is_called(value: str) -> None:
    with pytest.raises(ValueError, match="is no "):
        strike_values.parse(value)


async def test_strikes_are_listed_with_reason_and_author(docket: Docket, on: Options) -> None:
    remarks = ("--reason", "their data", "--by", "ann")
    assert (await run_docket("strike", *on, *remarks, "greet", "name", "==", "Ann"))[0] == 0
    assert (await run_docket("strike", *on, "greet"))[0] == 0
    await docket.strike(None, "thing", "==", cli_tasks.anything)

    code, output, errors = await run_docket("strikes", *on)

    assert (code, errors) == (0, "")
    title, headings, first, second, third = output.splitlines()
    assert title == f"Strikes in Docket: {docket.name}"
    assert headings.split() == ["Function", "Condition", "Since", "Reason", "By"]
    assert first.startswith("greet        name == 'Ann'")
    assert first.endswith("their data  ann")
    assert second.startswith("greet        (every call)")
    assert second.endswith(f"{getpass.getuser()}@{socket.gethostname()}")
    assert third.startswith("(all tasks)  thing == (a pickle, which only workers read)")

    restored_too = ("--reason", "mended", "greet", "name", "==", "Ann")
    assert (await run_docket("restore", *on, *restored_too))[0] == 0
    assert len(await docket.strikes()) == 2


async def test_strikes_are_printed_as_json_for_programs(docket: Docket, on: Options) -> None:
    assert await run_docket("strikes", *on, "--json") == (0, "[]\n", "")
    await docket.strike("greet", "name", ">", Decimal("1.5"), reason="why\x1b[31m")
    await docket.strike("greet", by="ann")
    first, second = await docket.strikes()

    code, output, errors = await run_docket("strikes", *on, "--json")

    assert (code, errors) == (0, "")
    assert "\x1b" not in output
    assert json.loads(output) == [
        {
            "function": "greet",
            "parameter": "name",
            "operator": ">",
            "value": "Decimal('1.5')",
            "is_readable": True,
            "since": first.since.isoformat(),
            "reason": "why\x1b[31m",
            "by": None,
        },
        {
            "function": "greet",
            "parameter": None,
            "operator": "==",
            "value": None,
            "is_readable": True,
            "since": second.since.isoformat(),
            "reason": None,
            "by": "ann",
        },
    ]


async def test_on_a_terminal_strikes_are_a_table(docket: Docket, on: Options) -> None:
    await docket.strike("greet", "name", "==", "[bold]\x1b", reason="why")

    code, output = await run_docket_on_terminal("strikes", *on)

    assert code == 0
    assert f"Strikes in Docket: {docket.name}" in output
    assert "name == '[bold]\\x1b'" in output


async def test_a_remark_that_is_too_long_is_wrong_usage(docket: Docket, on: Options) -> None:
    code, _, errors = await run_docket("strike", *on, "greet", "--reason", "x" * 1001)

    assert code == 2
    assert "reason has 1001 characters" in errors
    assert await docket.strikes() == []
