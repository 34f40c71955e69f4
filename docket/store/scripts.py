"""The Lua scripts, one for each transition: loaded from lua/, includes resolved, with digest."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_INCLUDE = re.compile(r"^--@include (\S+)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """A script as it is sent to the server.

    Attributes:
        name: the file's name without its extension, for error messages.
        parts: the Lua text with includes resolved, in parts: most of it is in many scripts, and a
            process holds what they share once.
        digest: the digest for EVALSHA.
    """

    name: str
    parts: tuple[str, ...]
    digest: str

    @property
    def source(self) -> str:
        """The Lua text, includes resolved: asked for where a server does not know the digest."""
        return "".join(self.parts)


@cache
def _part(filename: str) -> str:
    return (files("docket.store") / "lua" / filename).read_text(encoding="utf-8")


@cache
def _parts(filename: str) -> tuple[str, ...]:
    # Split by a pattern with one group, every second element is what the group matched.
    pieces = enumerate(_INCLUDE.split(_part(filename)))
    return tuple(
        part for number, piece in pieces for part in (_parts(piece) if number % 2 else (piece,))
    )


@cache
def load(name: str) -> Script:
    """Load the script lua/NAME.lua; each `--@include` line is replaced by the file it names."""
    parts = _parts(f"{name}.lua")
    return Script(name, parts, _digest(parts))


@cache
def in_cluster(script: Script) -> Script:
    """Return the variant of a script that publishes as a cluster needs it; see the Lua files."""
    source = script.source.replace(_part("_listeners.lua"), "")
    source = source.replace(_part("_messages.lua"), _part("_messages_in_cluster.lua"))
    return Script(script.name, (source,), _digest((source,)))


def _digest(parts: tuple[str, ...]) -> str:
    return hashlib.sha1("".join(parts).encode(), usedforsecurity=False).hexdigest()


EXCHANGE = load("exchange")
SCHEDULE = load("schedule")
CANCEL = load("cancel")
CLAIM = load("claim")
MARK = load("mark")
RESCHEDULE = load("reschedule")
RETIME = load("retime")
RETRY = load("retry")
MOVE = load("move")
PROMOTE = load("promote")
REGISTER = load("register")
BEAT = load("beat")
RENEW = load("renew")
VOUCH = load("vouch")
CONSUMERS = load("consumers")
RAISE_EPOCH = load("raise_epoch")
RECLAIM = load("reclaim")
ADOPT = load("adopt")
SWEEP = load("sweep")
RECOVER = load("recover")
PROGRESS = load("progress")
WAKE_IDLE = load("wake_idle")
STRIKE = load("strike")
CLEAR = load("clear")
ACQUIRE = load("acquire")
SWEEP_LIMITS = load("sweep_limits")
SET_ASIDE = load("set_aside")
PAUSE = load("pause")
RESUME = load("resume")
BACKLOG = load("backlog")
ADD_STATISTICS = load("add_statistics")
