"""The numbers of a docket's executions, by state and by function."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from docket.listing.pages import record_name
from docket.listing.summaries import ListedState
from docket.store.pages import Pages, Span
from docket.store.samples import Sample, Sampler

if TYPE_CHECKING:
    from docket.docket import Docket

#: Executions of each state that are looked at to estimate the numbers by function.
SAMPLE = 1_000


class Counts(msgspec.Struct, frozen=True):
    """The numbers of executions on a docket.

    Attributes:
        by_state: exact; of those completed and cancelled, those that are listed (the newest
            thousand at most).
        by_function: for each state.
        is_estimated: whether `by_function` is an estimate, from a random sample of each state.
    """

    by_state: dict[ListedState, int]
    by_function: dict[ListedState, dict[str, int]]
    is_estimated: bool


class Census:
    """The executions of one docket, counted.

    Args:
        docket: the docket, open.
        draw: chooses the samples.
    """

    def __init__(self, docket: Docket, draw: random.Random | None = None) -> None:
        self._keys = docket.keys
        self._pages = Pages(docket.connections.pipeline, docket.keys)
        self._sampler = Sampler(self._pages, draw or random.Random())

    async def counts(self) -> Counts:
        """Count the executions by state and function; see Docket.counts."""
        by_state = await self.by_state()
        by_function: dict[ListedState, dict[str, int]] = {}
        is_estimated = False
        for state, number in by_state.items():
            sample = await self._sample(state) if number else Sample([], [])
            by_function[state] = await self._by_function(state, number, sample)
            is_estimated = is_estimated or number > len(sample.found) > 0
        return Counts(by_state, by_function, is_estimated)

    async def by_state(self) -> dict[ListedState, int]:
        """Count the executions by state; see Docket.counts_by_state."""
        numbers = await self._pages.numbers()
        return {state: numbers[state.value] for state in ListedState}

    async def _by_function(self, state: ListedState, number: int, sample: Sample) -> dict[str, int]:
        names = [record_name(self._keys, state, one.key) for one in sample.found]
        rows = await self._pages.records(names, ("function",))
        share = max(1.0, number / (sum(sample.weights) or 1.0))
        found: dict[str, float] = defaultdict(float)
        for row, weight in zip(rows, sample.weights, strict=True):
            if row and row[0]:
                found[row[0].decode(errors="backslashreplace")] += weight * share
        most_first = sorted(found.items(), key=lambda item: -item[1])
        return {name: max(1, round(estimate)) for name, estimate in most_first}

    async def _sample(self, state: ListedState) -> Sample:
        match state:
            case ListedState.RUNNING:
                return await self._sampler.running(SAMPLE)
            case ListedState.QUEUED:
                return await self._sampler.queued(SAMPLE)
            case ListedState.WAITING:
                return await self._sampler.waiting(SAMPLE)
            case ListedState.SCHEDULED:
                return await self._sampler.scheduled(SAMPLE)
            case ListedState.FAILED:
                return await self._sampler.failed(SAMPLE)
            case ListedState.CANCELLED:
                found = await self._pages.cancelled(None, SAMPLE, Span())
            case ListedState.COMPLETED:
                found = await self._pages.completed(None, SAMPLE, Span())
        return Sample(found, [1.0] * len(found))
