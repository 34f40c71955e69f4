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
        source: the Lua text, includes resolved.
        digest: the digest for EVALSHA.
    """

    name: str
    source: str
    digest: str


@cache
def _part(filename: str) -> str:
    return (files("docket.store") / "lua" / filename).read_text(encoding="utf-8")


@cache
def load(name: str) -> Script:
    """Load the script lua/NAME.lua; each `--@include` line is replaced by the file it names."""
    source = _INCLUDE.sub(lambda include: _part(include.group(1)), _part(f"{name}.lua"))
    digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, source, digest)


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
