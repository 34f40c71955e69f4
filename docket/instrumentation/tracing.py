"""OpenTelemetry: who scheduled a task, and what became of it, as spans.

Only where opentelemetry-api is installed (the extra `otel`) and a tracer provider is set up. Else
nothing is made, carried or imported, and no task pays for it.

A run's span is a root of its own, linked to the span that scheduled the task: a task runs long
after its caller has ended, and often on another machine.
"""

# What the extra brings is bound wherever _is_installed was asked first, which pyright cannot see.
# pyright: reportPossiblyUnboundVariable=false

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias, cast

import msgspec

from docket.lifecycle import Completed, Failed, Perpetuated, Retried
from docket.serialization.pickle_codec import error_message

try:
    from opentelemetry import context, propagate, trace
    from opentelemetry.context import Context
except ImportError:
    _is_installed = False
else:
    _is_installed = True

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.types import AttributeValue

Attributes: TypeAlias = "Mapping[str, AttributeValue]"


#: How long it is taken as known that no provider is set up, in seconds. Without one, OpenTelemetry
#: looks at the environment each time it is asked, which a burst of adds would pay for.
_OFF_SECONDS = 0.001
_off_until = 0.0


def is_on() -> bool:
    """Whether anybody would see a span. What a hot path asks first."""
    global _off_until
    if not _is_installed or time.monotonic() < _off_until:
        return False
    provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        _off_until = time.monotonic() + _OFF_SECONDS
        return False
    return True


def tracer() -> Tracer | None:
    """What makes docket's spans; None if nobody would see them."""
    return trace.get_tracer("docket") if is_on() else None


def carried(given: object = None) -> bytes:
    """What a task's record carries, so that its run can be linked: nothing if there is no span.

    Args:
        given: OpenTelemetry's context; None for the current one.
    """
    if not _is_installed or (given is None and not is_on()):
        return b""
    carrier: dict[str, str] = {}
    # Somebody may pass anything as an execution's trace_context: what is none is not carried.
    carries = cast("Context", given) if isinstance(given, Context) else None
    propagate.inject(carrier, context=carries)
    return msgspec.json.encode(carrier) if carrier else b""


def context_of(record_field: bytes | None) -> Context | None:
    """The context that a record carries; None for none, or one that cannot be read."""
    if not _is_installed or not record_field:
        return None
    try:
        carrier = msgspec.json.decode(record_field, type=dict[str, str])
    except msgspec.DecodeError:
        return None  # Written by something else than `carried`: a task runs all the same.
    return propagate.extract(carrier)


@contextmanager
def span_of_call(name: str, attributes: Attributes) -> Generator[Span | None]:
    """A span for something asked of a docket while the context lasts; None if nobody sees it."""
    makes = tracer()
    if makes is None:
        yield None
        return
    with makes.start_as_current_span(name, attributes=attributes) as span:
        yield span


@contextmanager
def span_of_run(
    makes: Tracer, function_name: str, carried_context: Context | None, attributes: Attributes
) -> Generator[Span]:
    """The span of a run while the context lasts, `docket.task.NAME`.

    Args:
        makes: the tracer.
        function_name: of the task.
        carried_context: of whoever scheduled it; its baggage is the run's as well.
        attributes: of the span.
    """
    scheduled_by = trace.get_current_span(carried_context).get_span_context()
    # Not inside whatever span the worker itself was started in.
    token = context.attach(trace.set_span_in_context(trace.INVALID_SPAN, carried_context))
    try:
        with makes.start_as_current_span(
            f"docket.task.{function_name}",
            kind=trace.SpanKind.CONSUMER,
            attributes=attributes,
            links=[trace.Link(scheduled_by)] if scheduled_by.is_valid else [],
        ) as span:
            yield span
    finally:
        context.detach(token)


def end_with(span: Span, outcome: object) -> None:
    """Tell a run's span how it ended."""
    match outcome:
        case Perpetuated(ended):
            end_with(span, ended)
        case Completed():
            span.set_status(trace.StatusCode.OK)
        case Failed(error) | Retried(error=BaseException() as error):
            span.record_exception(error)
            span.set_status(trace.StatusCode.ERROR, error_message(error))
        case _:
            pass  # Neither well nor ill: it was cancelled, handed back, or is somebody else's.
