"""Expressions of Prometheus, as far as it can be told without one whether they find anything."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import promql_parser

#: Labels that Prometheus gives each series of a target.
OF_TARGETS = frozenset({"job", "instance"})

#: Functions of counters, of which nothing else has a rate.
OF_COUNTERS = frozenset({"rate", "irate", "increase", "resets"})
COUNTED = ("_total", "_bucket", "_count", "_sum")

#: What Grafana puts in the place of its own variables, in an expression and between quotes.
_VARIABLES = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "1h"}


@dataclass
class Expression:
    """What an expression reads, and the labels that its result has.

    Attributes:
        selectors: name of a series and the labels it is selected by, in order.
        labels: those that an aggregation keeps; None if nothing takes any away.
        misused: counters without a rate, and gauges with one.
    """

    selectors: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    grouped: list[frozenset[str]] = field(default_factory=list)
    misused: list[str] = field(default_factory=list)
    labels: frozenset[str] | None = None


def parse(text: str) -> Expression:
    """Read an expression, as Grafana or a rule file has it.

    Raises:
        ValueError: it is none.
    """
    for variable, value in _VARIABLES.items():
        text = text.replace(variable, value)
    root = promql_parser.parse(text)
    found = Expression()
    for node, parents in _walk(root, ()):
        _read(node, parents, found)
    if isinstance(root, promql_parser.AggregateExpr):
        found.labels = frozenset(root.modifier.labels if root.modifier is not None else ())
    return found


def _read(node: Any, parents: tuple[Any, ...], found: Expression) -> None:
    if isinstance(node, promql_parser.VectorSelector):
        found.selectors.append((node.name, frozenset(m.name for m in node.matchers.matchers)))
        calls = {each.func.name for each in parents if isinstance(each, promql_parser.Call)}
        if node.name.endswith(COUNTED) != bool(calls & OF_COUNTERS):
            found.misused.append(node.name)
    elif isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
        found.grouped.append(frozenset(node.modifier.labels))
    elif isinstance(node, promql_parser.BinaryExpr) and node.modifier is not None:
        matching = node.modifier.matching
        if matching is not None:
            found.grouped.append(frozenset(matching.labels))


def _walk(node: Any, parents: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    yield node, parents
    below = [*parents, node]
    for name in ("lhs", "rhs", "expr", "vector_selector", "args", "param"):
        child = getattr(node, name, None)
        for each in child if isinstance(child, list) else [child]:
            if isinstance(each, promql_parser.Expr | promql_parser.VectorSelector):
                yield from _walk(each, tuple(below))


def faults(text: str, labels: Mapping[str, frozenset[str]]) -> list[str]:
    """What such an expression would not find in a scrape that has these labels by name."""
    try:
        expression = parse(text)
    except ValueError as error:
        return [f"{text}: {error}"]
    wrong = [
        f"{name} is a counter without a rate, or a gauge with one" for name in expression.misused
    ]
    known = set(OF_TARGETS)
    for name, matched in expression.selectors:
        if name not in labels:
            wrong.append(f"there is no {name}")
            continue
        known |= labels[name]
        wrong += [f"{name} has no label {label}" for label in matched - labels[name] - OF_TARGETS]
    if not expression.selectors:
        wrong.append("it reads no series")
    for grouped in expression.grouped:
        wrong += [f"nothing has a label {label}" for label in grouped - known]
    if "histogram_quantile" in text and not any("le" in each for each in expression.grouped):
        wrong.append("a quantile is of buckets by le")
    return [f"{text}: {each}" for each in wrong]


def placeholders(template: str) -> frozenset[str]:
    """Labels in a legend of Grafana (`{{slot}}`) or a text of an alert (`{{ $labels.slot }}`)."""
    return frozenset(re.findall(r"\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}", template))
