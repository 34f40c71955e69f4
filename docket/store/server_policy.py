"""The settings of a server that decide whether it keeps what it accepted."""

from __future__ import annotations

import asyncio
import logging

from msgspec import Struct
from redis.exceptions import ResponseError

from docket.errors import ServerUnavailable
from docket.store.connection.pipeline import Pipeline
from docket.store.embedded.schemes import is_embedded

logger = logging.getLogger("docket.server")

#: The time to wait for the answer; nothing depends on it.
_PATIENCE_SECONDS = 2.0


class ServerPolicy(Struct, frozen=True):
    """The settings of a server.

    Attributes:
        maxmemory_policy: the policy by which it evicts keys; `noeviction` keeps all.
        appendonly: whether it appends what it accepts to a file.
    """

    maxmemory_policy: str
    appendonly: bool


async def server_policy(pipeline: Pipeline) -> ServerPolicy | None:
    """Ask the server by INFO; None if it does not let us ask, or is away.

    Not by CONFIG GET: a user that may call it can read the passwords of the server.
    """
    told: dict[str, str] = {}
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            for section in ("memory", "persistence"):
                reply: bytes | str = await pipeline.command("INFO", section)
                text = reply if isinstance(reply, str) else reply.decode(errors="replace")
                told |= dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    except (ServerUnavailable, ResponseError, TimeoutError):
        return None
    if "maxmemory_policy" not in told:
        return None
    return ServerPolicy(told["maxmemory_policy"], told.get("aof_enabled") == "1")


#: The URLs of the servers whose policy this process has told.
_told: set[str] = set()


async def tell_policy(pipeline: Pipeline, url: str) -> None:
    """Log once a process, for each server, what endangers accepted tasks."""
    if url in _told:
        return
    policy = await server_policy(pipeline)
    if policy is None:
        return
    _told.add(url)
    if policy.maxmemory_policy != "noeviction":
        logger.warning(
            "The server evicts keys when its memory is full (maxmemory-policy %s): tasks that were "
            "accepted vanish then. Set it to noeviction",
            policy.maxmemory_policy,
        )
    if not (policy.appendonly or is_embedded(url)):  # of that the URL says what it keeps
        logger.info(
            "The server appends to no file (appendonly no): with it, tasks are lost that it "
            "accepted after its last snapshot, if it makes any"
        )
