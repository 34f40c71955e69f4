"""How commands open the docket that they are about."""

import pytest

from docket import Docket
from tests.support.programs import run_docket

pytestmark = pytest.mark.anyio

COMMANDS = [
    ("strike", "greet"),
    ("restore", "greet"),
    ("clear",),
    ("snapshot",),
    ("watch", "a-key"),
    ("tasks", "trace"),
    ("tasks", "fail"),
    ("tasks", "sleep"),
    ("workers", "ls"),
    ("workers", "for-task", "greet"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_memory_is_refused_since_it_ends_with_its_program(command: tuple[str, ...]) -> None:
    code, output, errors = await run_docket(*command, "--url", "memory://shared")

    assert (code, output) == (2, "")
    assert "The memory:// URL scheme is not supported by the CLI." in errors
    assert "Please use a persistent backend like Redis or Valkey." in errors


async def test_docket_and_url_come_from_the_environment_as_well(
    docket: Docket, server: str
) -> None:
    environment = {"DOCKET_NAME": docket.name, "DOCKET_URL": server}

    code, output, _ = await run_docket("clear", env=environment)

    assert (code, output) == (0, f"Cleared 0 tasks from docket {docket.name!r}\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--url", "ftp://user:secret@host"), "Accepted: redis://"),
        (("--docket", "{braces}"), "braces"),
    ],
)
async def test_a_docket_that_cannot_be_is_wrong_usage(
    server: str, arguments: tuple[str, ...], complaint: str
) -> None:
    code, output, errors = await run_docket("clear", "--url", server, *arguments)

    assert (code, output) == (2, "")
    assert complaint in errors.splitlines()[-1]
    assert "secret" not in errors
