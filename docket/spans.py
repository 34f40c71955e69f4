"""What the spans of scheduling say."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from docket.execution import Execution
from docket.instrumentation.tracing import span_of_call


@contextmanager
def span_of_scheduling(execution: Execution, *, replace: bool) -> Generator[None]:
    """The span that an execution's run will be linked to: `docket.add` or `docket.replace`."""
    attributes = {
        "docket.name": execution.docket.name,
        "docket.task": execution.function_name,
        "docket.key": execution.key,
        "docket.when": execution.when.isoformat(),
        "docket.attempt": execution.attempt,
        "code.function.name": execution.function_name,
    }
    with span_of_call("docket.replace" if replace else "docket.add", attributes) as span:
        yield
        if span is not None:
            span.set_attribute("docket.execution.disposition", execution.disposition.value)
