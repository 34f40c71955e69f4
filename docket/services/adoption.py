"""Act for consumers of other workers: adopt those of the dead, vouch for those of the silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docket.errors import PoisonTask
from docket.services.outcomes import error_text
from docket.services.service_group import consumer_lifetime
from docket.supervision import Adoption

if TYPE_CHECKING:
    from docket.docket import Docket


async def adopt(docket: Docket, consumer: str, blame: str, max_deliveries: int) -> Adoption:
    """Give the tasks of a dead consumer to other workers; see `Worker.adopt`."""
    error = PoisonTask(
        f"{max_deliveries} worker processes died while they ran this task: it is not delivered "
        "again. See the logs of those workers; retry it once the cause is mended"
    )
    payload = docket.serializer.encode_error(error)
    moved, poisoned = await docket.transitions.adopt(
        consumer, blame, max_deliveries, (payload, error_text(error))
    )
    return Adoption(consumer, moved, tuple(poisoned))


async def vouch(docket: Docket, consumer: str) -> bool:
    """Beat and renew for a live consumer that cannot; see `Worker.vouch`."""
    return await docket.transitions.vouch(consumer, consumer_lifetime(docket))
