"""The end of what tasks shared: bounded, and logged."""

import asyncio

import pytest

from supervisor.worker.teardown import Entered, tear_down

pytestmark = pytest.mark.anyio


class Closing(Entered):
    """A worker whose teardown is given."""

    def __init__(
        self, *, error: BaseException | None = None, ignores: int = 0, waits: bool = False
    ):
        self.error, self.ignores, self.waits = error, ignores, waits
        self.cancellations = 0
        self.over = asyncio.Event()

    async def __aexit__(self, kind: None, error: None, traceback: None, /) -> None:
        while self.waits and not self.over.is_set():
            try:
                await self.wait_for_a_connection()
            except asyncio.CancelledError:
                self.cancellations += 1
                if self.cancellations > self.ignores:
                    raise
        if self.error is not None:
            raise self.error

    async def wait_for_a_connection(self) -> None:
        await self.over.wait()


async def test_a_teardown_that_works_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    await tear_down(Closing())
    assert caplog.records == []


@pytest.mark.parametrize(
    "error", [ConnectionError("the database went first"), asyncio.CancelledError(), TimeoutError()]
)
async def test_a_teardown_that_raises_is_logged(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    await tear_down(Closing(error=error))
    if isinstance(error, Exception):
        (record,) = caplog.records
        assert record.levelname == "ERROR"
        assert record.exc_info is not None
        assert record.exc_info[1] is error


@pytest.mark.parametrize("ignores", [0, 1])
async def test_a_teardown_that_hangs_is_logged_with_its_stack_and_cancelled(
    ignores: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.worker.teardown.EXIT_SECONDS", 3.05)
    closing = Closing(waits=True, ignores=ignores)
    await tear_down(closing, 0.05)
    assert closing.cancellations == 1
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "in wait_for_a_connection" in record.getMessage()
    closing.over.set()
