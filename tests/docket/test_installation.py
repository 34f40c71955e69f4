"""The original installed beside ours: said once, at the import, with the remedy."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from docket.installation import installed_version, warn_of_the_original

ROOT = Path(__file__).parent.parent.parent


def site(tmp_path: Path, *names: str) -> list[str]:
    for name in names:
        tmp_path.joinpath(name).mkdir()
    return [str(tmp_path / "docket")]


@pytest.mark.parametrize("version", ["0.27.0", "0.16.3", "1.0.0rc1"])
def test_the_original_is_warned_of_with_the_remedy(tmp_path: Path, version: str) -> None:
    package = site(tmp_path, "docket", f"pydocket-{version}.dist-info")
    with pytest.warns(RuntimeWarning, match="same place as docket-supervisor") as caught:
        warn_of_the_original(package)
    said = str(caught[0].message)
    assert said.startswith(f"pydocket {version} is installed")
    assert "pip uninstall --yes pydocket && python -m pip install --force-reinstall" in said


def test_our_stand_in_and_other_packages_are_not_taken_for_it(tmp_path: Path) -> None:
    names = ["pydocket-0.27.0+docket.supervisor.dist-info", "pydocket_tools-1.0.dist-info"]
    package = site(tmp_path, "docket", *names, "pydocket", "docket_supervisor-0.1.0.dist-info")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_the_original(package)
        warn_of_the_original([str(tmp_path / "archive.zip" / "docket")])


def test_the_installed_version_is_told_without_its_metadata(tmp_path: Path) -> None:
    names = ["pydocket-0.27.0.dist-info", "docket_supervisor-1.2.3.dist-info", "docket"]
    (package,) = site(tmp_path, *names)
    assert installed_version(package) == "1.2.3"
    assert installed_version(str(tmp_path / "docket" / "docket")) is None
    assert installed_version(str(tmp_path / "archive.zip" / "docket")) is None


def test_the_import_warns_once_whoever_imports_it_again(tmp_path: Path) -> None:
    site(tmp_path, "pydocket-0.27.0.dist-info")
    tmp_path.joinpath("docket").symlink_to(ROOT / "docket")
    program = "import docket, docket.worker; from docket import Docket; import docket"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr.count("RuntimeWarning: pydocket 0.27.0 is installed") == 1
    assert "<string>:1" in done.stderr, "it points at whoever imports"


def test_looking_for_it_imports_nothing() -> None:
    program = (
        "import sys, os, warnings; before = set(sys.modules);"
        f"exec(open({str(ROOT / 'docket/installation.py')!r}).read());"
        "warn_of_the_original(['/tmp/docket']);"
        "print(sorted(set(sys.modules) - before - {'collections.abc', 'collections'}))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "importlib.metadata" not in done.stdout
