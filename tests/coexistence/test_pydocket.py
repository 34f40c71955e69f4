"""Ours, PyPI's pydocket and our stand-in for it: installed for good, in every order.

Each environment is filled from wheels, as a user's is.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.wheels import Environment, built, run

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parent.parent.parent
ORIGINAL = "pydocket==0.27.0"
REMEDY = "python -m pip uninstall --yes pydocket && python -m pip install --force-reinstall"
#: Something that only ours has.
OURS = "from docket.supervision import Unsupervised; import docket; print(docket.__version__)"
#: A package that requires pydocket, as those do that are built on it.
DEPENDENT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "dependent"
version = "1"
dependencies = ["pydocket>=0.27.0"]
[tool.hatch.build.targets.wheel]
bypass-selection = true
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT / "compat/pydocket", tmp_path_factory.mktemp("stand-in"))


def environment(folder: Path, packages: Sequence[str | Path], *options: str) -> Environment:
    made = Environment(folder)
    for package in packages:
        made.install(str(package), *options)
    return made


def test_installed_after_the_original_ours_runs_and_says_what_to_do(
    wheel: Path, tmp_path: Path
) -> None:
    made = environment(tmp_path, [ORIGINAL, wheel])
    ran = made.python("-c", OURS)
    assert ran.returncode == 0
    assert ran.stderr.count("pydocket 0.27.0 is installed in the same place") == 1
    assert REMEDY in ran.stderr
    assert made.script("docket-supervisor", "--version").returncode == 0


def test_installed_before_the_original_the_program_of_ours_refuses_and_the_remedy_mends_it(
    wheel: Path, tmp_path: Path
) -> None:
    made = environment(tmp_path, [wheel, ORIGINAL])
    refused = made.script("docket-supervisor", "--url", "memory://")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert REMEDY in refused.stderr

    run(str(made.folder / "bin/python"), "-m", "pip", "uninstall", "--yes", "--quiet", "pydocket")
    uninstalled = made.script("docket-supervisor", "--url", "memory://")
    assert (uninstalled.returncode, uninstalled.stderr) == (2, refused.stderr)

    made.install("--force-reinstall", "--no-deps", str(wheel))
    ran = made.python("-W", "error", "-c", OURS)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert made.script("docket-supervisor", "--version").returncode == 0


@pytest.mark.parametrize("how", ["by its address", "by its version"])
def test_the_stand_in_meets_the_requirement_of_the_original(
    wheel: Path, stand_in: Path, tmp_path: Path, how: str
) -> None:
    """As docs/migrating.md has it: a constraint, where the stand-in is in no index of pip's."""
    project = tmp_path / "dependent"
    project.mkdir()
    project.joinpath("pyproject.toml").write_text(DEPENDENT)
    constraints = tmp_path / "constraints.txt"
    found = ["--find-links", str(wheel.parent)]
    if how == "by its version":
        constraints.write_text("pydocket==0.27.0+docket.supervisor\n")
        found += ["--find-links", str(stand_in.parent)]
    else:
        constraints.write_text(f"pydocket @ {stand_in.as_uri()}\n")
    made = environment(tmp_path / "environment", [project], "-c", str(constraints), *found)

    ran = made.python(
        *("-W", "error", "-c"),
        "import docket, docket.supervision; from importlib.metadata import version;"
        "print(version('pydocket'))",
    )
    assert (ran.stdout, ran.stderr) == ("0.27.0+docket.supervisor\n", "")
    assert made.python("-m", "pip", "check").returncode == 0
    run(str(made.folder / "bin/python"), "-m", "pip", "uninstall", "--yes", "--quiet", "pydocket")
    assert made.python("-W", "error", "-c", OURS).returncode == 0


def test_the_stand_in_has_the_extras_of_the_original_and_no_file_of_its_own(
    stand_in: Path, tmp_path: Path
) -> None:
    made = environment(tmp_path, [stand_in], "--no-deps")
    shown = made.python("-m", "pip", "show", "--files", "pydocket").stdout
    files = shown.partition("Files:")[2].split()
    assert files
    assert all(file.startswith("pydocket-0.27.0+docket.supervisor.dist-info/") for file in files)
    extras = "import importlib.metadata as m; print(m.metadata('pydocket')['Provides-Extra'])"
    assert made.python("-c", extras).stdout == "metrics\n"
