"""OpenTelemetry: spans for the scheduling of tasks and for their runs.

Active only if opentelemetry-api is installed (the extra `otel`) and a tracer provider is set up.
Otherwise nothing is created, stored or imported, and tasks have no overhead.

A run's span is a root span, linked to the span that scheduled the task: a task may run long after
its caller has ended, and often on another machine.
"""

# The names of the extra are bound wherever _is_installed was checked; pyright cannot see that.
# pyright: reportPossiblyUnboundVariable=false

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, MutableMapping
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


class MessageGetter:
    """OpenTelemetry's access to a trace context in the fields of a message of a stream."""

    def get(self, carrier: Mapping[bytes, bytes], key: str) -> list[str] | None:
        """Return the values of a field; None if there is no such field."""
        value = carrier.get(key.encode())
        return None if value is None else [value.decode(errors="replace")]

    def keys(self, carrier: Mapping[bytes, bytes]) -> list[str]:
        """List the names of the fields."""
        return [key.decode() for key in carrier]


class MessageSetter:
    """OpenTelemetry's way to put a trace context into the fields of a message of a stream."""

    def set(self, carrier: MutableMapping[bytes, bytes], key: str, value: str) -> None:
        """Set a field."""
        carrier[key.encode()] = value.encode()


#: The getter for OpenTelemetry's `extract`.
message_getter = MessageGetter()
#: The setter for OpenTelemetry's `inject`.
message_setter = MessageSetter()


#: Time for which the absence of a provider is cached, in seconds. Without a provider, OpenTelemetry
#: reads the environment on each call, which would slow down a burst of adds.
_OFF_SECONDS = 0.001
#: Most bytes of a trace context; a larger one, of which the baggage must be somebody's mistake, is
#: not carried.
MAX_CARRIED_BYTES = 16_384
_off_until = 0.0


def is_on() -> bool:
    """Return whether spans are recorded; cheap, for hot paths to check first."""
    global _off_until
    if not _is_installed or time.monotonic() < _off_until:
        return False
    provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        _off_until = time.monotonic() + _OFF_SECONDS
        return False
    return True


def tracer() -> Tracer | None:
    """Return the tracer of docket's spans; None if spans are not recorded."""
    return trace.get_tracer("docket") if is_on() else None


def carried(given: object = None) -> bytes:
    """Return the trace context to store in a task's record; empty if there is no span.

    Args:
        given: OpenTelemetry's context; None for the current one.
    """
    if not _is_installed or (given is None and not is_on()):
        return b""
    carrier: dict[str, str] = {}
    # Somebody may pass anything as an execution's trace_context: what is none is not carried.
    from_context = cast("Context", given) if isinstance(given, Context) else None
    propagate.inject(carrier, context=from_context)
    carries = msgspec.json.encode(carrier) if carrier else b""
    return carries if len(carries) <= MAX_CARRIED_BYTES else b""


def context_of(record_field: bytes | None) -> Context | None:
    """Return the context stored in a record; None if there is none, or it cannot be read."""
    if not _is_installed or not record_field:
        return None
    try:
        carrier = msgspec.json.decode(record_field, type=dict[str, str])
    except (msgspec.MsgspecError, ValueError):
        return None  # Not written by `carried`: the task runs all the same.
    return propagate.extract(carrier)


@contextmanager
def span_of_call(name: str, attributes: Attributes) -> Generator[Span | None]:
    """Open a span for a call to a docket while the context lasts; None if not recorded."""
    run_tracer = tracer()
    if run_tracer is None:
        yield None
        return
    with run_tracer.start_as_current_span(name, attributes=attributes) as span:
        yield span


@contextmanager
def span_of_run(
    run_tracer: Tracer, function_name: str, carried_context: Context | None, attributes: Attributes
) -> Generator[Span]:
    """Open the span of a run, `docket.task.NAME`, while the context lasts.

    Args:
        run_tracer: the tracer.
        function_name: the name of the task.
        carried_context: the context of the caller that scheduled it; the run inherits its baggage.
        attributes: the attributes of the span.
    """
    scheduled_by = trace.get_current_span(carried_context).get_span_context()
    # Not a child of the span in which the worker itself was started.
    token = context.attach(trace.set_span_in_context(trace.INVALID_SPAN, carried_context))
    try:
        with run_tracer.start_as_current_span(
            f"docket.task.{function_name}",
            kind=trace.SpanKind.CONSUMER,
            attributes=attributes,
            links=[trace.Link(scheduled_by)] if scheduled_by.is_valid else [],
        ) as span:
            yield span
    finally:
        context.detach(token)


def end_with(span: Span, outcome: object) -> None:
    """Record the outcome of a run in its span."""
    match outcome:
        case Perpetuated(ended):
            end_with(span, ended)
        case Completed():
            span.set_status(trace.StatusCode.OK)
        case Failed(error) | Retried(error=BaseException() as error):
            span.record_exception(error)
            span.set_status(trace.StatusCode.ERROR, error_message(error))
        case _:
            pass  # Neither success nor error: it was cancelled, requeued, or superseded.
