"""How much CPU each script takes at most, by a clock inside it.

SLOWLOG tells how long a call took by the clock, and on a machine that others use too that is also
the time in which the server was ready to go on and had no CPU: an HSET of 16 ms. So the scripts are
sent to the server inside a function whose CPU is taken there; what they do is the same.
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator

from redis.asyncio import Redis

from docket.store import scripts
from docket.store.scripts import Script
from stress.runtime.report import Figure, Limit
from stress.soak.settings import MUST_CALL_MS

#: Where the scripts leave the longest of each name, in milliseconds.
LONGEST = "soak:longest"

_AROUND = """\
local soak_began = os.clock()
local function soak_body()
%s
end
local soak_reply = soak_body()
redis.call('ZADD', '%s', 'GT', (os.clock() - soak_began) * 1000, '%s')
return soak_reply
"""


def with_clock(script: Script) -> Script:
    """The same script, which notes how much CPU it took."""
    source = _AROUND % (script.source, LONGEST, script.name)
    digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(script.name, source, digest)


class LongestScripts:
    """Complete after the block of `timed`."""

    def __init__(self, client: Redis) -> None:
        self.milliseconds: dict[str, float] = {}
        self._client = client

    async def collect(self) -> None:
        """Take what they have left there, before it is removed."""
        for name, milliseconds in await self._client.zrange(LONGEST, 0, -1, withscores=True):
            known = self.milliseconds.get(name.decode(), 0.0)
            self.milliseconds[name.decode()] = max(known, milliseconds)

    def figures(self) -> list[Figure]:
        """Of each script, the longest first; each is judged."""
        limit = Limit("most", at_most=MUST_CALL_MS)
        ordered = sorted(self.milliseconds.items(), key=lambda named: -named[1])
        return [
            Figure(f"longest script {name}, CPU", [milliseconds], "ms", limit)
            for name, milliseconds in ordered
        ]


@contextlib.asynccontextmanager
async def timed(client: Redis) -> AsyncIterator[LongestScripts]:
    """Use scripts with clocks during the block, in this process.

    Not on a server that gives its scripts no clock (Redis 7.0): there SLOWLOG alone judges.
    """
    if not await client.eval("return rawget(_G, 'os') and 1 or 0", 0):
        yield LongestScripts(client)
        return
    ours = {name: each for name, each in vars(scripts).items() if isinstance(each, Script)}
    for name, script in ours.items():
        setattr(scripts, name, with_clock(script))
    longest = LongestScripts(client)
    try:
        yield longest
        await longest.collect()
    finally:
        for name, script in ours.items():
            setattr(scripts, name, script)
