"""Any number of schedule requests at once, in calls that are short for the server."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain

from docket.store.coalescing import (
    BATCH_BYTES,
    BATCH_LIMIT,
    ScheduleCoalescer,
    ScheduleReply,
    ScheduleRequest,
)


async def schedule_many(
    coalescer: ScheduleCoalescer, requests: Sequence[ScheduleRequest]
) -> list[ScheduleReply]:
    """Schedule any number of tasks; replies in the order of the requests.

    Raises:
        ServerUnavailable: the server stayed away; some of the tasks may have been scheduled.
    """
    calls = [coalescer.schedule_batch(batch) for batch in _batches(requests)]
    replies = await asyncio.gather(*calls)
    return list(chain.from_iterable(replies))


def _batches(requests: Sequence[ScheduleRequest]) -> Iterator[list[ScheduleRequest]]:
    batch: list[ScheduleRequest] = []
    size = 0
    for request in requests:
        batch.append(request)
        size += len(request.call)
        if len(batch) == BATCH_LIMIT or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
