"""The audit log of a docket."""

import pytest

from docket import Docket
from docket.store import audit

pytestmark = pytest.mark.anyio


async def test_acts_are_listed_the_newest_first(docket: Docket) -> None:
    for number in range(3):
        await docket.record_act("retry", f"task-{number}", "done", by="ann", origin="10.0.0.7")

    acts = await docket.recorded_acts()

    assert [each.target for each in acts] == ["task-2", "task-1", "task-0"]
    assert [each.target for each in await docket.recorded_acts(1, 1)] == ["task-1"]
    assert (acts[0].by, acts[0].origin, acts[0].reason) == ("ann", "10.0.0.7", None)


async def test_the_log_is_bounded(docket: Docket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MOST_ACTS", 3)

    for number in range(5):
        await docket.record_act("retry", f"task-{number}", "done", by="ann", origin="here")

    async with docket.redis() as redis:
        assert await redis.llen(docket.keys.audit) == 3
    assert [each.target for each in await docket.recorded_acts()] == ["task-4", "task-3", "task-2"]


async def test_texts_are_cut_and_may_hold_anything(docket: Docket) -> None:
    await docket.record_act("retry", "x" * 100_000, "\ud800\x00", by="ann\n", origin="here")

    (act,) = await docket.recorded_acts()

    assert len(act.target) == 1_000
    assert act.outcome == "\\ud800\x00"


async def test_rows_of_others_and_rows_that_came_twice_are_passed_over(docket: Docket) -> None:
    await docket.record_act("retry", "task", "done", by="ann", origin="here")
    async with docket.redis() as redis:
        (row,) = await redis.lrange(docket.keys.audit, 0, -1)
        await redis.lpush(docket.keys.audit, row, b"nonsense", b"{}", b"\xff")

    assert [each.target for each in await docket.recorded_acts()] == ["task"]


@pytest.mark.parametrize(("first", "count"), [(-1, 10), (0, 0), (0, 1_001)])
async def test_numbers_out_of_bounds_are_refused(docket: Docket, first: int, count: int) -> None:
    with pytest.raises(ValueError, match="first must be between 0 and"):
        await docket.recorded_acts(first, count)
