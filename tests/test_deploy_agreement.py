"""The deployment files agree with each other, and say what they need."""

import re
from typing import Any

import pytest
import yaml

from tests.support.deploy import (
    FOLDER,
    Instruction,
    comments_of,
    config_of,
    dockerfile,
    manifests,
    the,
    unit,
    value,
)

UNITS = [FOLDER / "docket-supervisor.service", FOLDER / "docket-supervisor-notify.service"]


@pytest.fixture
def stages() -> list[list[Instruction]]:
    return dockerfile((FOLDER / "Dockerfile").read_text("utf-8"))


@pytest.fixture
def container() -> dict[str, Any]:
    (deployment,) = manifests("deployment.yaml")
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    return only


def test_units_image_and_pods_run_the_same_tasks_of_the_same_docket(
    stages: list[list[Instruction]], container: dict[str, Any]
) -> None:
    commands = [value(unit(path), "ExecStart").split()[1:] for path in UNITS]
    commands += [the("CMD", stages[-1]).words, container["args"]]
    assert {(config_of(each).docket, config_of(each).tasks) for each in commands} == {
        ("app", ("app.jobs:tasks",))
    }
    document = (FOLDER.parent / "deploy.md").read_text("utf-8")
    assert "tasks `app.jobs:tasks` on the docket `app`" in document
    assert f"-t {container['image']} ." in comments_of(FOLDER / "Dockerfile")


def test_each_alert_has_a_row_on_the_page_for_those_on_call() -> None:
    (group,) = yaml.safe_load((FOLDER / "prometheus" / "alerts.yml").read_text("utf-8"))["groups"]
    page = (FOLDER.parent / "operations" / "on-call.md").read_text("utf-8")
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `Docket")]
    named = [name for row in rows for name in re.findall(r"`(Docket\w+)`", row)]
    assert sorted(named) == sorted(rule["alert"] for rule in group["rules"])


def test_each_file_says_what_it_needs(
    stages: list[list[Instruction]], container: dict[str, Any]
) -> None:
    copied = [each.given.split()[0] for each in stages[1] if each.name == "COPY"]
    assert copied == ["requirements.txt", "."]
    said = comments_of(FOLDER / "Dockerfile")
    assert all(f"#   {name} " in said for name in ("requirements.txt", "pyproject.toml"))
    assert "#   app/jobs.py " in said
    secret = container["env"][0]["valueFrom"]["secretKeyRef"]
    said = comments_of(FOLDER / "kubernetes" / "deployment.yaml")
    assert f"create secret generic {secret['name']} --from-literal={secret['key']}=" in said
