"""The most CPU that each script takes, by a clock inside it.

SLOWLOG has the duration of a call by the clock, which on a machine with other users includes the
time in which the server was ready to go on and had no CPU: an HSET of 16 ms. So the scripts are
sent to the server inside a function whose CPU is measured there; their effect is the same.
"""

import contextlib
import hashlib
from collections.abc import AsyncGenerator

from redis.asyncio import Redis

from docket.store import scripts
from docket.store.scripts import Script
from stress.report import Figure, Limit
from stress.soak.scale import MUST_CALL_MS

#: The key where the scripts leave the longest time of each name, in milliseconds.
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
    """Wrap a script so that it notes the CPU that it took."""
    source = _AROUND % (script.source, LONGEST, script.name)
    digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(script.name, (source,), digest)


class LongestScripts:
    """The longest time of each script; complete after the block of `clocked_scripts`."""

    def __init__(self, client: Redis) -> None:
        self.milliseconds: dict[str, float] = {}
        self._client = client

    async def collect(self) -> None:
        """Collect the times that the scripts have left, before they are removed."""
        for name, milliseconds in await self._client.zrange(LONGEST, 0, -1, withscores=True):
            known = self.milliseconds.get(name.decode(), 0.0)
            self.milliseconds[name.decode()] = max(known, milliseconds)

    def figures(self) -> list[Figure]:
        """The figure of each script, the longest first; each is judged."""
        limit = Limit("most", at_most=MUST_CALL_MS)
        ordered = sorted(self.milliseconds.items(), key=lambda named: -named[1])
        return [
            Figure(f"longest script {name}, CPU", [milliseconds], "ms", limit)
            for name, milliseconds in ordered
        ]


@contextlib.asynccontextmanager
async def clocked_scripts(client: Redis) -> AsyncGenerator[LongestScripts]:
    """Use scripts with clocks during the block, in this process.

    A server without a clock for scripts (Redis 7.0) gets them as they are: SLOWLOG alone judges.
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
