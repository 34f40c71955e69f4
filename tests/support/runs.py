"""A run of a task without a server: the few attributes that dependencies are resolved from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from docket.dependencies import Resolution, compile_plan
from docket.dependencies.base import current


@dataclass
class Named:
    name: str

    def labels(self) -> dict[str, str]:
        return {"docket.name": "the-docket", "docket.worker": self.name}


@dataclass
class ReportedProgress:
    current: int | None = None
    total: int = 100
    message: str | None = None
    updated_at: datetime | None = None

    async def set_total(self, total: int) -> None:
        self.total = total

    async def increment(self, amount: int = 1) -> None:
        self.current = (self.current or 0) + amount

    async def set_message(self, message: str | None) -> None:
        self.message = message


@dataclass
class Run:
    """What stands where an Execution does."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    key: str = "the-key"
    attempt: int = 1
    when: datetime = field(default_factory=lambda: datetime.now(UTC))
    progress: ReportedProgress = field(default_factory=ReportedProgress)

    @property
    def function_name(self) -> str:
        return self.function.__name__

    def specific_labels(self) -> dict[str, str | int]:
        return {
            "docket.task": self.function_name,
            "docket.key": self.key,
            "docket.when": self.when.isoformat(),
            "docket.attempt": self.attempt,
        }


DOCKET: Any = Named("the-docket")
WORKER: Any = Named("the-worker")


def resolution_of(run: Run) -> Resolution:
    execution: Any = run
    return Resolution(compile_plan(run.function), docket=DOCKET, worker=WORKER, execution=execution)


async def execute(run: Run) -> Any:
    """Resolve, call and close, as the executor of a worker does."""
    execution: Any = run
    resolution = resolution_of(run)
    with current(DOCKET, WORKER, execution):
        async with resolution as kwargs:
            runtime = resolution.runtime()
            if runtime is not None:
                return await runtime.run(execution, run.function, run.args, kwargs)
            return await run.function(*run.args, **kwargs)


async def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return await execute(Run(function, args, kwargs))
