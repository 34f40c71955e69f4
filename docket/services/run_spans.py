"""The tracing span of a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from docket.clock import from_milliseconds
from docket.instrumentation.tracing import context_of, end_with, span_of_run
from docket.services.runs import Run

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from docket.worker import Worker

Ended = TypeVar("Ended")


async def in_span(
    tracer: Tracer, worker: Worker, run: Run, body: Callable[[Run], Awaitable[Ended]]
) -> Ended:
    """Run the body in a span that records the outcome."""
    claim = run.claim
    name, key = claim.function.decode(), claim.key.decode()
    attributes = {
        "docket.name": worker.docket.name,
        "docket.worker": worker.name,
        "docket.task": name,
        "docket.key": key,
        "docket.when": from_milliseconds(claim.when).isoformat(),
        "docket.attempt": claim.attempt,
        "code.function.name": name,
    }
    with span_of_run(tracer, name, context_of(claim.trace), attributes) as span:
        ended = await body(run)
        end_with(span, ended)
        return ended
