"""The peers: what is installed for each, and what it has no notion of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: For asyncio peers: the loop and the parser that those of them that name one recommend.
_FAST = ("uvloop==0.23.0", "hiredis==3.5.0")


@dataclass(frozen=True)
class Peer:
    """One column of the comparison.

    Arguments:
        name: of the column.
        adapter: its script in `adapters/`.
        requirements: pinned, for a virtual environment (`npm`: for a folder of npm packages);
            none of them means our own interpreter.
        backlog: tasks of a drain: some seconds of work, where that is possible.
        least_python: the oldest Python that it runs on.
        npm: it runs on Node.
        pool: one program runs all of its worker processes.
        scheduler: a process of its own moves due tasks.
        absent: measurement -> the reason why it has none of that.
        options: for the adapter.
    """

    name: str
    adapter: str
    requirements: tuple[str, ...] = ()
    backlog: int = 10_000
    least_python: tuple[int, int] = (3, 11)
    npm: bool = False
    pool: bool = False
    scheduler: bool = False
    absent: Mapping[str, str] = field(default_factory=dict[str, str])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def is_ours(self) -> bool:
        """Return True for our own columns, which need no environment."""
        return not self.requirements


LIBRARY = Peer("library", "docket_adapter.py", backlog=60_000)
SUPERVISED = Peer(
    "supervised",
    "docket_adapter.py",
    backlog=60_000,
    pool=True,
    # They add as the library does.
    absent=dict.fromkeys(("single", "bulk"), "as the library"),
    options={"supervised": True},
)

_ONE_AT_A_TIME = "runs one task at a time: see the other row"

PEERS = (
    LIBRARY,
    SUPERVISED,
    Peer("pydocket", "docket_adapter.py", ("pydocket==0.27.0", *_FAST), backlog=2_000),
    Peer(
        "ardiq",
        "ardiq_adapter.py",
        ("ardiq==1.2.0", "uvloop==0.23.0"),
        backlog=40_000,
        least_python=(3, 12),
    ),
    Peer(
        "taskiq",
        "taskiq_adapter.py",
        ("taskiq==0.13.0", "taskiq-redis==1.2.4", *_FAST),
        pool=True,
        scheduler=True,
    ),
    Peer("streaq", "streaq_adapter.py", ("streaq==7.2.0", "uvloop==0.23.0")),
    Peer(
        "saq",
        "saq_adapter.py",
        # It imports typing-extensions on Python 3.11, without saying so.
        ("saq[redis,hiredis]==0.26.4", "typing-extensions==4.16.0", *_FAST),
        backlog=6_000,
    ),
    Peer("arq", "arq_adapter.py", ("arq==0.28.0", *_FAST), backlog=3_000),
    Peer(
        "dramatiq",
        "dramatiq_adapter.py",
        ("dramatiq[redis]==2.2.1", "hiredis==3.5.0"),
        backlog=6_000,
        pool=True,
    ),
    Peer("celery", "celery_adapter.py", ("celery[redis]==5.7.0", "hiredis==3.5.0"), backlog=4_000),
    Peer(
        "rq",
        "rq_adapter.py",
        ("rq==3.0.0", "hiredis==3.5.0"),
        backlog=2_000,
        absent=dict.fromkeys(("drain 1p c100", "drain 2p c100"), _ONE_AT_A_TIME),
    ),
    Peer(
        "bullmq", "bullmq_adapter.mjs", ("bullmq@6.7.0", "ioredis@5.9.2"), backlog=40_000, npm=True
    ),
)
