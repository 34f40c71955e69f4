"""Tasks of tests that count their runs by what they were called with."""

from collections import Counter

from docket import Docket
from docket.store import scripts
from tests.support.dockets import Gate, result_of
from tests.support.proxy import Do, Proxy, calls


class Runs:
    """Counts the runs of a task by what it was called with."""

    def __init__(self) -> None:
        self.of: Counter[object] = Counter()
        self.gate = Gate()

    async def count(self, what: object) -> object:
        self.of[what] += 1
        return what

    async def wait(self, what: object) -> object:
        self.of[what] += 1
        await self.gate.pass_through(what)
        return what


def known(docket: Docket, runs: Runs) -> Docket:
    docket.register(runs.count, names=["count"])
    docket.register(runs.wait, names=["wait"])
    return docket


def calls_of(proxy: Proxy, script: scripts.Script) -> list[int]:
    """The size of every call of a script from now on."""
    sizes: list[int] = []
    matches = calls(script)

    def note(words: list[bytes]) -> bool:
        if matches(words):
            sizes.append(sum(len(word) for word in words))
        return False

    proxy.intercept(note, Do.ANSWER)
    return sizes


async def run_more(docket: Docket, runs: Runs) -> None:
    execution = await docket.add("count")("more")
    assert await result_of(execution) == "more"
    runs.of.pop("more")
