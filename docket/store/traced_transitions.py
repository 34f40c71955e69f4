"""Transitions with spans, for `enable_internal_instrumentation`."""

from collections.abc import Sequence
from datetime import timedelta

from docket.instrumentation.tracing import span_of_call
from docket.store.transitions import Exchanged, OutcomeRow, Transitions


class TracedTransitions(Transitions):
    """Transitions with spans around the calls `exchange`, `promote`, `sweep` and `beats`."""

    async def exchange(
        self,
        consumer: str,
        epoch: int,
        want: int,
        outcomes: Sequence[OutcomeRow],
        *,
        may_take_quarantined: bool,
        census: bool = False,
        failures: Sequence[tuple[int, str]] = (),
    ) -> Exchanged:
        """Exchange in a span `docket.exchange`; raises the same errors."""
        with span_of_call(
            "docket.exchange", {"docket.outcomes": len(outcomes), "docket.want": want}
        ) as span:
            exchanged = await super().exchange(
                consumer,
                epoch,
                want,
                outcomes,
                may_take_quarantined=may_take_quarantined,
                census=census,
                failures=failures,
            )
            if span is not None:
                span.set_attribute("docket.claims", len(exchanged.claims))
            return exchanged

    async def promote(self) -> tuple[int, float | None]:
        """Promote in a span `docket.promote`; raises the same errors."""
        with span_of_call("docket.promote", {}):
            return await super().promote()

    async def sweep(self, redelivery_timeout: timedelta) -> int:
        """Sweep in a span `docket.sweep`; raises the same errors."""
        with span_of_call("docket.sweep", {}):
            return await super().sweep(redelivery_timeout)

    async def beats(self) -> dict[bytes, int]:
        """Read the beats in a span `docket.beats`; raises the same errors."""
        with span_of_call("docket.beats", {}):
            return await super().beats()
