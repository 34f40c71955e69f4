"""The dashboard and the alerts ask for what a scrape has, and say where operators read on."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from ipc.messages import Backlog
from supervisor.monitoring.metrics import registry_of, render
from tests.support.exposition import labels_by_name
from tests.support.promql import OF_TARGETS, faults, parse, placeholders
from tests.support.recording_process_control import Rig

DEPLOY = Path(__file__).parent.parent / "docs/deploy"
DASHBOARD: dict[str, Any] = json.loads(
    (DEPLOY / "grafana/docket-supervisor.json").read_text("utf-8")
)
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
SHOWN = [panel for panel in PANELS if panel["type"] != "row"]
TARGETS = [(panel, target) for panel in SHOWN for target in panel["targets"]]


def named(value: object) -> str:
    return str(value.get("title") or value.get("alert")) if isinstance(value, dict) else ""


@pytest.fixture(scope="module")
def scraped() -> dict[str, frozenset[str]]:
    """Labels by name of a scrape (a slow test compares it with that of a real pool)."""
    rig = Rig(1).boot()
    rig.beat(rig.first)
    rig.say(rig.first, Backlog())
    return labels_by_name(render(registry_of(rig.pool_state, lambda: rig.now)).decode())


@pytest.mark.parametrize(("panel", "target"), TARGETS, ids=named)
def test_a_panel_asks_for_what_a_scrape_has(
    panel: dict[str, Any], target: dict[str, Any], scraped: dict[str, frozenset[str]]
) -> None:
    assert faults(target["expr"], scraped) == []
    kept = parse(target["expr"]).labels
    legend = placeholders(target["legendFormat"])
    if legend:
        asked = parse(target["expr"])
        assert kept is None or legend <= kept
        assert legend <= frozenset().union(*asked.grouped)


@pytest.mark.parametrize(("panel", "target"), TARGETS, ids=named)
def test_a_panel_is_of_the_pools_and_the_data_source_that_are_chosen(
    panel: dict[str, Any], target: dict[str, Any]
) -> None:
    for name, labels in parse(target["expr"]).selectors:
        assert "instance" in labels
        of_a_docket = ("docket_task", "docket_backlog", "docket_places")
        assert ("docket_name" in labels) == name.startswith(of_a_docket)
    assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"


def test_every_metric_of_the_pool_is_on_the_dashboard(scraped: dict[str, frozenset[str]]) -> None:
    shown = {name for _, each in TARGETS for name, _ in parse(each["expr"]).selectors}
    base = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in scraped}
    assert {name for name in ours - base if name.startswith("docket_")} == set()


def test_panels_have_ids_of_their_own_and_do_not_lie_on_each_other() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(ids) == len(set(ids))
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
    assert all(at["x"] >= 0 and at["x"] + at["w"] <= 24 for at in (p["gridPos"] for p in PANELS))


def test_each_panel_says_what_it_shows_and_each_of_its_queries_has_a_letter() -> None:
    for panel in SHOWN:
        assert panel["title"]
        assert panel["description"].endswith(".")
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters))
    titles = [panel["title"] for panel in SHOWN]
    assert len(titles) == len(set(titles))


def test_the_rows_are_those_that_operators_look_for() -> None:
    rows = {panel["title"] for panel in PANELS if panel["type"] == "row"}
    assert rows >= {
        "Backlog",
        "Throughput",
        "Failures",
        "Latency",
        "Redelivery",
        "Restarts and stalls",
        "Event loops",
        "Memory and CPU",
        "Workers by state",
        "Reloads",
    }


def test_the_dashboard_can_be_imported_anywhere(scraped: dict[str, frozenset[str]]) -> None:
    assert DASHBOARD["schemaVersion"] >= 39
    assert DASHBOARD["id"] is None
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", DASHBOARD["uid"])
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "docket", "instance"]
    assert variables["datasource"]["query"] == "prometheus"
    for name in ("docket", "instance"):
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variables[name]["definition"])
        assert asked is not None
        (selector,) = parse(asked[1]).selectors
        assert asked[2] == name
        assert name in scraped[selector[0]] | OF_TARGETS
    used = set(re.findall(r"\$\{?([a-z]\w+)", json.dumps(DASHBOARD)))
    assert used == set(variables)


@pytest.mark.parametrize("alert", ALERTS, ids=named)
def test_an_alert_asks_for_what_a_scrape_has_and_says_so(
    alert: dict[str, Any], scraped: dict[str, frozenset[str]]
) -> None:
    assert set(alert) == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Docket[A-Z][A-Za-z]+", alert["alert"])
    assert re.fullmatch(r"\d+[smhd]", alert["for"])
    assert alert["labels"]["severity"] in ("warning", "critical")
    assert faults(alert["expr"], scraped) == []
    expression = parse(alert["expr"])
    kept = frozenset[str]().union(*expression.grouped) or OF_TARGETS
    texts = alert["annotations"]
    assert set(texts) == {"summary", "description"}
    assert placeholders(f"{texts['summary']} {texts['description']}") <= kept
    assert texts["description"].endswith(".")


def test_alerts_have_names_of_their_own_and_cover_what_is_worst() -> None:
    names = [alert["alert"] for alert in ALERTS]
    assert len(names) == len(set(names))
    assert {"DocketCrashLoop", "DocketPoolNotReady", "DocketRedeliverySlow", "DocketStall"} <= {
        *names
    }
    assert "DocketWorkerMemory" in names
    assert {
        "DocketNobodyConsumes",
        "DocketOldestWaits",
        "DocketScheduleLate",
        "DocketFailedKeptGrows",
    } <= {*names}


def test_an_alert_compares_with_something() -> None:
    for alert in ALERTS:
        assert re.search(r"[<>=]=?\s*[\d.e]+\s*$|\) > 500e6", alert["expr"]), alert["alert"]


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("sum(rate(docket_tasks_gone_total[5m]))", "there is no docket_tasks_gone_total"),
        ('docket_supervisor_ready{slot="1"}', "has no label slot"),
        ("sum by (slot) (docket_supervisor_ready)", "nothing has a label slot"),
        ("docket_supervisor_ready / on (slot) docket_supervisor_ready", "nothing has a label slot"),
        ("docket_supervisor_crashes_total", "is a counter without a rate"),
        ("rate(docket_supervisor_ready[5m])", "or a gauge with one"),
        ("sum(docket_supervisor_ready", "docket_supervisor_ready"),
        ("1 + 1", "it reads no series"),
        (
            "histogram_quantile(0.9, rate(docket_supervisor_redelivery_seconds_bucket[5m]))",
            "by le",
        ),
    ],
)
def test_an_expression_that_finds_nothing_is_objected_to(
    expression: str, fault: str, scraped: dict[str, frozenset[str]]
) -> None:
    assert any(fault in found for found in faults(expression, scraped))
