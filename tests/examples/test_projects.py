"""The projects of examples/ pass their own tests, run as a user runs them: in their folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import example_projects

PYTEST = ("-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
MANAGE = ("-W", "error", "manage.py", "test")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("project", example_projects(), ids=lambda project: project.name)
def test_a_project_passes_its_own_tests(project: Path) -> None:
    words = MANAGE if (project / "manage.py").exists() else PYTEST

    run = subprocess.run(
        [sys.executable, *words],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
