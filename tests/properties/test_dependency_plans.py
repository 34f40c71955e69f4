"""Random graphs of dependencies: each resolved once, in order, closed in reverse; circles found."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from inspect import Parameter, Signature
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docket.dependencies import CycleError, Depends, compile_plan
from tests.support.runs import call

# No deadline: how long an example takes depends on who else uses the machine.
PLANS = settings(deadline=None, max_examples=60)

#: What closes, and what does not.
OPEN_ENDED = ("sync", "async")
CLOSED = ("manager", "async manager", "generator", "async generator")

#: By number: a kind of function, and the numbers it depends on, all lower: no circle.
Graph = list[tuple[str, list[int]]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    return [
        (
            draw(st.sampled_from(OPEN_ENDED + CLOSED)),
            draw(st.lists(st.integers(0, node - 1), unique=True, max_size=4)) if node else [],
        )
        for node in range(draw(st.integers(1, 8)))
    ]


def depend(function: Callable[..., Any], on: Mapping[str, Callable[..., Any]]) -> None:
    """Give a function that takes any name these parameters."""
    function.__signature__ = Signature(
        [
            Parameter(name, Parameter.KEYWORD_ONLY, default=Depends(dependency))
            for name, dependency in on.items()
        ]
    )


class Journal:
    """The functions of a graph, and what happened to them in which order."""

    def __init__(self, graph: Graph, failing: frozenset[int] = frozenset()) -> None:
        self.failing = failing
        self.opened: list[int] = []
        self.closed: list[int] = []
        self.functions: list[Callable[..., Any]] = []
        for node, (kind, edges) in enumerate(graph):
            function = self._function(node, kind)
            depend(
                function,
                {f"p{edge}": self.functions[edge] for edge in edges},
            )
            self.functions.append(function)

    def _open(self, node: int, values: Mapping[str, Any]) -> int:
        assert all(name == f"p{value}" for name, value in values.items())
        if node in self.failing:
            raise ValueError(node)
        self.opened.append(node)
        return node

    def _function(self, node: int, kind: str) -> Callable[..., Any]:
        def sync(**values: Any) -> int:
            return self._open(node, values)

        async def coroutine(**values: Any) -> int:
            await asyncio.sleep(0)
            return self._open(node, values)

        def generator(**values: Any) -> Iterator[int]:
            opened = self._open(node, values)
            try:
                yield opened
            finally:
                self.closed.append(node)

        async def async_generator(**values: Any) -> AsyncIterator[int]:
            opened = self._open(node, values)
            try:
                yield opened
            finally:
                self.closed.append(node)

        return {
            "sync": sync,
            "async": coroutine,
            "manager": contextmanager(generator),
            "async manager": asynccontextmanager(async_generator),
            "generator": generator,
            "async generator": async_generator,
        }[kind]


def task_on(journal: Journal, nodes: list[int]) -> Callable[..., Any]:
    async def task(**values: Any) -> dict[str, Any]:
        return values

    depend(task, {f"p{node}": journal.functions[node] for node in nodes})
    return task


def needed(graph: Graph, roots: list[int]) -> set[int]:
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        found.add(node)
        waiting += graph[node][1]
    return found


def closing(graph: Graph, opened: list[int]) -> list[int]:
    return [node for node in reversed(opened) if graph[node][0] in CLOSED]


@PLANS
@given(graphs(), st.data())
def test_each_is_resolved_once_after_what_it_needs_and_closed_in_reverse(
    graph: Graph, data: st.DataObject
) -> None:
    roots = data.draw(st.lists(st.integers(0, len(graph) - 1), unique=True, min_size=1))
    journal = Journal(graph)

    values = asyncio.run(call(task_on(journal, roots)))

    assert values == {f"p{root}": root for root in roots}
    assert sorted(journal.opened) == sorted(needed(graph, roots))
    for place, node in enumerate(journal.opened):
        assert set(graph[node][1]) <= set(journal.opened[:place])
    assert journal.closed == closing(graph, journal.opened)


@PLANS
@given(graphs(), st.data())
def test_a_failure_fails_those_above_it_and_no_others_and_all_that_opened_is_closed(
    graph: Graph, data: st.DataObject
) -> None:
    nodes = list(range(len(graph)))
    failing = data.draw(st.frozensets(st.sampled_from(nodes), min_size=1))
    journal = Journal(graph, failing)

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(call(task_on(journal, nodes)))

    broken = [node for node in nodes if needed(graph, [node]) & failing]
    names = ", ".join(f"p{node}" for node in broken)
    assert caught.value.message == f"Failed to resolve dependencies for parameter(s): {names}"
    reached = {node for node in failing if not (needed(graph, graph[node][1]) & failing)}
    assert {error.args[0] for error in caught.value.exceptions} == reached
    assert set(journal.opened) == set(nodes) - set(broken)
    assert journal.closed == closing(graph, journal.opened)


@PLANS
@given(graphs(), st.data())
def test_a_circle_anywhere_is_found_when_the_plan_is_compiled(
    graph: Graph, data: st.DataObject
) -> None:
    journal = Journal(graph)
    top = data.draw(st.integers(0, len(graph) - 1))
    bottom = data.draw(st.sampled_from(sorted(needed(graph, [top]))))
    task = task_on(journal, [top])
    compile_plan(task)

    depend(journal.functions[bottom], {"back": journal.functions[top]})

    with pytest.raises(CycleError):
        compile_plan(task)


@PLANS
@given(graphs(), st.data())
def test_what_the_caller_passes_leaves_out_what_it_alone_needed(
    graph: Graph, data: st.DataObject
) -> None:
    nodes = list(range(len(graph)))
    passed = data.draw(st.frozensets(st.sampled_from(nodes)))
    journal = Journal(graph)

    values = asyncio.run(call(task_on(journal, nodes), **{f"p{n}": "passed" for n in passed}))

    assert values == {f"p{node}": "passed" if node in passed else node for node in nodes}
    rest = [node for node in nodes if node not in passed]
    assert sorted(journal.opened) == sorted(needed(graph, rest))
