"""The table of metrics in docs/operations/monitoring.md, compared with a scrape both ways."""

import re
from pathlib import Path

from ipc.messages import Backlog
from supervisor.logs.formats import JsonFormatter, LogContext, PlainFormatter, line_of
from supervisor.logs.writer import QUEUE_BYTES, QUEUE_LINES
from supervisor.monitoring.metrics import registry_of, render
from tests.support.exposition import families
from tests.support.recording_process_control import Rig

PAGE = (Path(__file__).parent.parent / "docs/operations/monitoring.md").read_text("utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def documented() -> dict[str, frozenset[str]]:
    """Name -> labels, of each row of the table."""
    found: dict[str, frozenset[str]] = {}
    for row in re.findall(
        r"^\| (`[a-z_`, ]+`)(?: \{([a-z_, ]+)\})? \|", section("Metrics"), re.MULTILINE
    ):
        names, labels = row
        for name in re.findall(r"`([a-z_]+)`", names):
            assert name not in found, f"{name} stands there twice"
            found[name] = frozenset(filter(None, re.split(r",\s*", labels)))
    return found


def scraped() -> dict[str, frozenset[str]]:
    """The same of a pool (a slow test compares it with a real one), each under its whole name."""
    rig = Rig(1).boot()
    rig.beat(rig.first)
    rig.say(rig.first, Backlog())
    found: dict[str, frozenset[str]] = {}
    for name, family in families(
        render(registry_of(rig.pool_state, lambda: rig.now)).decode()
    ).items():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name + "_total" * (family.type == "counter")] = frozenset(labels)
    return found


def test_the_metrics_of_the_document_are_those_of_a_scrape() -> None:
    assert documented() == scraped()


def test_each_metric_of_the_document_is_explained() -> None:
    rows = [line for line in section("Metrics").splitlines() if line.startswith("| `")]
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 3 or row.endswith("| |"), row
        assert cells[1], row


def test_the_bounds_of_the_queue_are_those_of_the_document() -> None:
    assert f"{QUEUE_LINES:,} lines ({QUEUE_BYTES >> 20} MiB)" in section("Logs")


def test_the_lines_of_the_document_look_like_those_of_the_program() -> None:
    log_context = LogContext("worker 3", 3, lambda: ("order-17", "ship"))
    line = line_of(PlainFormatter(log_context), "docket.worker", 20, "message")
    form = re.search(r"\| `plain` \| `(.+)` \|", section("Logs"))
    assert form is not None
    assert (
        re.sub(r"\d", "0", line[:23]) + line[23:] == re.sub(r"\d", "0", form[1][:23]) + form[1][23:]
    )
    line = line_of(JsonFormatter(log_context), "docket.worker", 20, "message")
    fields = re.findall(r'"(\w+)": ', line)
    told = re.search(r"\| `json` \| (.+) \|", section("Logs"))
    assert told is not None
    assert set(fields) | {"exception", "stack", "extra"} == set(re.findall(r"`([a-z]+)`", told[1]))
