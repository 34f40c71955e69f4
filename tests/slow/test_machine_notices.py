"""The lifecycle machine notices scripts that are broken, each in one place."""

import hashlib

import hypothesis
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from docket.store import scripts
from docket.store.scripts import Script
from tests.properties.test_lifecycle_machine import Lifecycle
from tests.support.machine_settings import machine_settings
from tests.support.parameters import rest_in_full

#: What a script does wrong: its name, what stands in it, and what stands there instead.
FAULTS = {
    "an exchange of an older epoch takes effect": (
        "exchange",
        "if epoch ~= ARGV[3] then",
        "if false then",
    ),
    "the outcome of an older run of the same execution counts": (
        "exchange",
        "record.entry == entry and record.generation == generation",
        "record.generation == generation",
    ),
    "an entry that somebody else's record names is removed": (
        "exchange",
        "if ours[n] or not is_found then",
        "if true then",
    ),
    "a run that ends keeps its slots": (
        "exchange",
        "limiting().release(letter .. id)",
        "local _ = letter .. id",
    ),
    "the baton is not passed on": ("exchange", "if (want > 0 and took == want)", "if false"),
    "an ended record lives for ever": ("exchange", "redis.call('PEXPIRE', rk, ttl)", ""),
    "a successor inherits the deaths": (
        "exchange",
        "'from', 'deaths', 'suspect_for', 'limits', 'timed', 'attempts'",
        "'from', 'suspect_for', 'limits', 'timed', 'attempts'",
    ),
    "an adoption forgets a cancellation": ("adopt", "if record.cancel then", "if false then"),
    "a quarantined task is blamed that outlived the run that died": (
        "adopt",
        "letter == 'x' and i < #pending",
        "false",
    ),
    "what outlived the run that died is quarantined when it is handed back": (
        "exchange",
        "'handed back', a == '1')",
        "'handed back')",
    ),
    "a run that died is suspect for no time that is noted": (
        "adopt",
        "redis.call('HSET', RECORDS .. key, 'suspect_for', suspect_for(record))",
        "",
    ),
    "an adoption counts no deaths": ("adopt", "deaths = deaths + 1", "deaths = deaths"),
    "a fenced consumer may exchange": ("adopt", "redis.call('HDEL', KEYS[7], gone)", ""),
    "a renewal renews nothing": ("renew", "redis.pcall('XCLAIM'", "tostring('XCLAIM'"),
    "what is taken back keeps its old lease": (
        "reclaim",
        "redis.call('XCLAIM', STREAMS[letter], GROUP, consumer",
        "tostring('XCLAIM', STREAMS[letter], GROUP, consumer",
    ),
    "what is cancelled stays in the queue": ("cancel", "redis.call('ZREM', QUEUE, key)", ""),
    "a request that is sent again is a new one": (
        "schedule",
        "if v[4] == token or",
        "if false and",
    ),
    "what is added wakes nobody": ("schedule", "if is_ready then", "if false then"),
    "what is replaced stays in the stream": ("schedule", "    end_entry(entry)\n", ""),
    "a reclaim takes what its worker runs": (
        "reclaim",
        "if not running[entry] then",
        "if true then",
    ),
}


#: One of each script, and of what several workers do to each other; the others in tox -m full.
IN_EVERY_RUN = {
    "an exchange of an older epoch takes effect",
    "a run that ends keeps its slots",
    "an adoption forgets a cancellation",
    "a fenced consumer may exchange",
    "a renewal renews nothing",
    "what is cancelled stays in the queue",
    "what is added wakes nobody",
    "a reclaim takes what its worker runs",
}

#: A machine is run with at most so many seeds, and tries so many sequences with each.
SEEDS, SEQUENCES = 50, 40
#: Seeds that are tried first, because they show a fault early that one sequence in 400 shows.
#: Without one, hypothesis takes the sequences from the text of the source: any word of it changed
#: the time of this test between seconds and minutes.
FIRST = {
    "a successor inherits the deaths": 2,
    "a quarantined task is blamed that outlived the run that died": 1,
    "what outlived the run that died is quarantined when it is handed back": 3,
    "what is taken back keeps its old lease": 3,
    "a request that is sent again is a new one": 2,
}


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", rest_in_full(FAULTS, IN_EVERY_RUN))
def test_the_machine_notices_that(server: str, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    name, sound, broken = FAULTS[fault]
    script: Script = getattr(scripts, name.upper())
    assert sound in script.source, "the script was changed: change the fault with it"
    source = script.source.replace(sound, broken, 1)
    digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(scripts, name.upper(), Script(name, (source,), digest))
    assert any(is_noticed(server, seed) for seed in (FIRST.get(fault, 19), *range(SEEDS)))


def is_noticed(server: str, seed: int) -> bool:
    machine = hypothesis.seed(seed)(type("LifecycleOnThisServer", (Lifecycle,), {"url": server}))
    generating = settings(
        machine_settings(), max_examples=SEQUENCES, database=None, phases=[Phase.generate]
    )
    try:
        run_state_machine_as_test(machine, settings=generating)
    except (AssertionError, KeyError):
        return True
    return False
