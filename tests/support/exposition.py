"""What `promtool check metrics` and a scrape would object to in the text of /metrics."""

import math
import re
from collections.abc import Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def families(text: str) -> dict[str, Metric]:
    """By name; a counter's has no `_total`."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def series(text: str) -> Series:
    """Every sample, by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families(text).values()
        for sample in family.samples
    }


def labels_by_name(text: str) -> dict[str, frozenset[str]]:
    """By the name of a sample, the labels it has."""
    found: dict[str, set[str]] = {}
    for name, labels in series(text):
        found.setdefault(name, set()).update(label for label, _ in labels)
    return {name: frozenset(labels) for name, labels in found.items()}


def faults(text: str) -> list[str]:
    """What is wrong with it; nothing, if it is well-formed."""
    return [*_of_lines(text), *(fault for f in families(text).values() for fault in _of_family(f))]


def _of_lines(text: str) -> Iterator[str]:
    if not text.endswith("\n"):
        yield "the last line has no end"
    for kind in ("HELP", "TYPE"):
        names = re.findall(rf"^# {kind} (\S+)", text, re.MULTILINE)
        yield from (f"{name}: {kind} twice" for name in {n for n in names if names.count(n) > 1})
    # Looked for here, since the parser supplies a suffix that is not there.
    for name in re.findall(r"^# TYPE (\S+) counter", text, re.MULTILINE):
        if not name.endswith("_total"):
            yield f"{name}: _total is missing"
    samples = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    yield from (f"{sample}: twice" for sample in {s for s in samples if samples.count(s) > 1})


def _of_family(family: Metric) -> Iterator[str]:
    name = family.name
    if not family.documentation.strip():
        yield f"{name}: no HELP"
    if family.type not in ("counter", "gauge", "histogram"):
        yield f"{name}: of type {family.type}"
    if not re.fullmatch(r"(docket|process)_[a-z]+(_[a-z]+)*", name):
        yield f"{name}: a name of another style"
    if re.search(r"_(milliseconds|ms|minutes|kb|mb|count|sum|bucket)$", name):
        yield f"{name}: a suffix that is no base unit, or reserved"
    if family.type == "histogram":
        yield from _of_histogram(family)
    for sample in family.samples:
        if sample.name.endswith("_total") and family.type != "counter":
            yield f"{sample.name}: _total is for counters"
        if "le" in sample.labels and family.type != "histogram":
            yield f"{sample.name}: the label le is a histogram's"
        if math.isnan(sample.value) or (family.type != "gauge" and sample.value < 0):
            yield f"{sample.name}: has the value {sample.value}"


def _of_histogram(family: Metric) -> Iterator[str]:
    name = family.name
    if not name.endswith("_seconds"):
        yield f"{name}: the unit is not in the name"
    rest: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
    counts: dict[frozenset[tuple[str, str]], float] = {}
    for sample in family.samples:
        others = _without_le(sample.labels)
        if sample.name == f"{name}_bucket":
            rest.setdefault(others, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name == f"{name}_count":
            counts[others] = sample.value
    for others, buckets in rest.items():
        bounds, values = [b for b, _ in buckets], [v for _, v in buckets]
        if bounds != sorted(set(bounds)) or bounds[-1] != math.inf:
            yield f"{name}: the buckets are not in order up to +Inf: {bounds}"
        if values != sorted(values):
            yield f"{name}: the buckets are not cumulative: {values}"
        if values[-1] != counts.get(others):
            yield f"{name}: the last bucket is not the count"


def _without_le(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((label, value) for label, value in labels.items() if label != "le")
