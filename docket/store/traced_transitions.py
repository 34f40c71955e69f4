"""The transitions with a span around each internal call, for `enable_internal_instrumentation`."""

from collections.abc import Sequence
from datetime import timedelta

from docket.instrumentation.tracing import span_of_call
from docket.store.transitions import Exchanged, OutcomeRow, Transitions


class TracedTransitions(Transitions):
    """Transitions whose internal calls, those that no user asked for, can be seen as spans."""

    async def exchange(
        self,
        consumer: str,
        epoch: int,
        want: int,
        outcomes: Sequence[OutcomeRow],
        *,
        may_take_quarantined: bool,
        census: bool = False,
    ) -> Exchanged:
        """In a span `docket.exchange`; raises as it does."""
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
            )
            if span is not None:
                span.set_attribute("docket.claims", len(exchanged.claims))
            return exchanged

    async def promote(self) -> tuple[int, int, int | None]:
        """In a span `docket.promote`; raises as it does."""
        with span_of_call("docket.promote", {}):
            return await super().promote()

    async def sweep(self, redelivery_timeout: timedelta) -> int:
        """In a span `docket.sweep`; raises as it does."""
        with span_of_call("docket.sweep", {}):
            return await super().sweep(redelivery_timeout)

    async def beats(self) -> dict[bytes, int]:
        """In a span `docket.beats`; raises as it does."""
        with span_of_call("docket.beats", {}):
            return await super().beats()
