"""The operations of workers: claim, hand in, reclaim, renew, vouch, adopt, sweep, and more."""

from collections.abc import Collection, Sequence

from tests.support.model import pauses, slots
from tests.support.model.values import Claimed, Ending, Entry, Exchanged, Letter, Progress, Record
from tests.support.model.world import LETTERS, World

#: How many due tasks an exchange makes ready on its way.
PROMOTED_ON_THE_WAY = 16
#: How many the steward makes ready in a call.
PROMOTED = 256
#: How many are brought back by a call when a pause ends.
LIFTED = 64


def register(world: World, consumer: str) -> None:
    """Announce a consumer: from now on it may exchange."""
    world.epochs[consumer] = 1


def raise_epoch(world: World, consumer: str) -> int:
    """Make older exchanges do nothing; 0 if the consumer was fenced."""
    if consumer not in world.epochs:
        return 0
    world.epochs[consumer] += 1
    return world.epochs[consumer]


def exchange(
    world: World,
    consumer: str,
    epoch: int,
    want: int,
    endings: Sequence[Ending],
    *,
    may_take_quarantined: bool,
    census: bool = False,
) -> Exchanged:
    """Hand in how runs ended, and take up to `want` tasks."""
    if (status := _refusal(world, consumer, epoch)) is not None:
        return Exchanged(status)
    superseded = _hand_in(world, consumer, endings)
    world.promote(PROMOTED_ON_THE_WAY)
    is_open = want > 0 and not pauses.holds(world, "")
    claims = _take(world, "x", consumer, 1) if is_open and may_take_quarantined else []
    # A quarantined task comes alone: what blocked its last process would hold up the others.
    is_quarantined = bool(claims)
    if is_open and not is_quarantined:
        claims = _take(world, "f", consumer, want)
        claims += _take(world, "s", consumer, want - len(claims))
    left = -1
    if census and len(claims) < want:
        left = sum(map(len, world.streams.values())) + len(world.queue)
    return Exchanged("ok", claims, superseded, left, is_quarantined and want > 1)


def _take(world: World, letter: str, consumer: str, want: int) -> list[Claimed]:
    """Claim from a stream, some at a time, and park what is paused.

    The slots of what is parked go to others, which are then in the redelivery stream.
    """
    claims: list[Claimed] = []
    step = 4
    while len(claims) < want:
        size = min(want - len(claims), step)
        entries = world.waiting(letter)[:size]
        for entry in entries:
            if pauses.holds(world, world.records[entry.key].function):
                pauses.park(world, entry)
            else:
                claims.append(_claim(world, consumer, entry))
        if len(entries) < size:
            break
        step = 32 if world.pauses else step * 8
    return claims


def _refusal(world: World, consumer: str, epoch: int) -> str | None:
    known = world.epochs.get(consumer)
    if known is None:
        return "refused"
    return None if known == epoch else "stale"


def _hand_in(world: World, consumer: str, endings: Sequence[Ending]) -> list[int]:
    records = [world.records.get(ending.claim.key) for ending in endings]
    ours = [
        ending.kind != "S" and record is not None and slots.is_owned(record, ending.claim, consumer)
        for ending, record in zip(endings, records, strict=True)
    ]
    # What somebody else's record names is how that execution is found again: it stays.
    over = [
        ending.claim.entry
        for ending, record, is_ours in zip(endings, records, ours, strict=True)
        if is_ours or record is None or not record.is_live or record.entry is not ending.claim.entry
    ]
    for entry in over:
        world.remove(entry)
    for ending, is_ours in zip(endings, ours, strict=True):
        if is_ours:
            _end(world, consumer, ending)
    for letter in LETTERS:
        world.release(entry for entry in over if entry.letter == letter)
    return [index for index, is_ours in enumerate(ours) if not is_ours]


def _end(world: World, consumer: str, ending: Ending) -> None:
    key, record = ending.claim.key, world.records[ending.claim.key]
    if ending.failure and (ending.kind == "F" or not record.cancelled):
        world.log_attempt(record, ending.failure)
    match ending.kind:
        case "C":
            world.finish(
                key, "completed", result=ending.payload or None, result_key=ending.result_key
            )
        case "F":
            world.finish(
                key,
                "failed",
                result=ending.payload or None,
                error=ending.text,
                result_key=ending.result_key,
            )
        case _ if ending.kind == "X" or record.cancelled:
            world.finish(key, "cancelled")
        case "A":
            again(world, key, ending.attempt, ending.call, world.now + ending.delay)
        case "P":
            _perpetuate(world, key, ending)
        case _:
            world.requeue(
                key, consumer, record.deaths, "handed back", has_outlived=ending.has_outlived
            )


def again(world: World, key: str, attempt: int, call: str, when: int) -> None:
    """Make the same execution wait for its next attempt."""
    record = world.records[key]
    world.forget_run(record)
    record.entry = record.came_from = None
    record.attempt, record.call = attempt, call or record.call
    world.place(key, when)


def _perpetuate(world: World, key: str, ending: Ending) -> None:
    record = world.records[key]
    ended = "failed" if ending.text else "completed"
    error = ending.text or None
    since = {"n": world.now, "s": record.started or 0, "e": 0}
    due = since[ending.origin] + ending.delay
    if ending.origin != "e":
        due = max(due, world.now)
    world.publish(key, ended, record.when, record.worker, record.started, world.now, error)
    if error:
        world.keep(key, error)
        record.last_failure = world.now
    else:
        record.last_success = world.now
    record.attempts = []
    record.deaths, record.lasted, record.order, record.limit_requests = 0, None, None, {}
    record.generation, record.perpetual = record.generation + 1, record.generation
    again(world, key, 1, ending.call, due)


def _claim(world: World, consumer: str, entry: Entry) -> Claimed:
    entry.owner, entry.renewed = consumer, world.now
    world.start(entry.key, entry, consumer)
    return _claimed(world.records[entry.key], entry)


def _claimed(record: Record, entry: Entry) -> Claimed:
    return Claimed(
        entry.key,
        entry,
        record.generation,
        record.function,
        record.call,
        record.when,
        record.attempt,
        record.deaths,
        record.came_from,
        record.lasted if entry.letter == "x" else None,
    )


def _is_run_of(record: Record | None, entry: Entry, consumer: str) -> bool:
    if record is None or record.entry is not entry:
        return False
    return record.state == "running" and record.worker == consumer


def reclaim(world: World, consumer: str, epoch: int, known: Collection[Entry]) -> Exchanged:
    """The consumer's own entries that it does not run: those of a lost reply."""
    if (status := _refusal(world, consumer, epoch)) is not None:
        return Exchanged(status)
    claims: list[Claimed] = []
    for letter in LETTERS:
        for entry in world.pending(letter, consumer):
            if entry in known:
                continue
            record = world.records.get(entry.key)
            if not _is_run_of(record, entry, consumer):
                world.drop(entry)
            elif record is not None and record.cancelled:
                world.drop(entry)
                world.finish(entry.key, "cancelled")
            else:
                claims.append(_claim(world, consumer, entry))
    return Exchanged("ok", claims)


def renew(world: World, consumer: str, runs: Sequence[Claimed]) -> tuple[list[Entry], list[Entry]]:
    """The entries that are not the consumer's any more, and those that somebody cancelled."""
    lost: list[Entry] = []
    cancelled: list[Entry] = []
    for claim in runs:
        record = world.records.get(claim.key)
        is_recorded = record is not None and slots.is_owned(record, claim, consumer)
        if not is_recorded and claim.entry not in world.pending(claim.entry.letter, consumer):
            lost.append(claim.entry)
            continue
        claim.entry.renewed = world.now
        if is_recorded and record is not None and record.cancelled:
            cancelled.append(claim.entry)
    return lost, cancelled


def vouch(world: World, consumer: str) -> bool:
    """Renew all that a consumer holds; False if it was fenced."""
    if consumer not in world.epochs:
        return False
    for letter in LETTERS:
        for entry in world.pending(letter, consumer):
            entry.renewed = world.now
    return True


def adopt(world: World, consumer: str, blame: str) -> tuple[int, list[str]]:
    """Strike a consumer off; return the number of runs given to others, and the poison keys.

    blame: everyone | nobody | key:KEY: whose deaths count. Of the quarantined ones that it ran
        everyone is the last, which it took when it had outlived the others.
    """
    world.epochs.pop(consumer, None)
    moved, poisoned = 0, list[str]()
    outlived = world.pending("x", consumer)[:-1]
    for entry in [e for letter in LETTERS for e in world.pending(letter, consumer)]:
        is_blamed = blame == f"key:{entry.key}" or (blame == "everyone" and entry not in outlived)
        _note_how_long(world, entry, consumer, blame)
        how = "process died" if is_blamed else "worker lost"
        match _redeliver(world, entry, consumer, 1 if is_blamed else 0, how):
            case "moved":
                moved += 1
            case "poison":
                poisoned.append(entry.key)
            case _:
                pass
    return moved, poisoned


def _note_how_long(world: World, entry: Entry, consumer: str, blame: str) -> None:
    record = world.records.get(entry.key)
    if record is None or record.cancelled or not _is_run_of(record, entry, consumer):
        return
    if blame in {"everyone", f"key:{entry.key}"} and record.started is not None:
        record.lasted = world.now - record.started


def sweep(world: World) -> int:
    """Give the runs whose lease has ended to others; nobody is blamed.

    They are judged only by who has watched for half a lease without a gap.
    """
    if world.watched_until <= world.now:
        world.watched_since = world.now
    world.watched_until = world.now + world.lease // 2
    if world.now - world.watched_since < world.lease // 2:
        return 0
    late = [
        entry
        for letter in LETTERS
        for entry in world.streams[letter]
        if entry.owner is not None and entry.renewed + world.lease <= world.now
    ]
    return sum(_redeliver(world, e, e.owner or "", 0, "lease lost") == "moved" for e in late)


def recover(world: World, letter: Letter) -> int:
    """Deliver all that waits in a stream of which somebody has said that it was delivered."""
    moved = 0
    for entry in world.waiting(letter):
        record = world.records.get(entry.key)
        is_waiting = record is not None and record.entry is entry and record.state == "queued"
        world.drop(entry)
        if record is not None and is_waiting:
            record.entry = world.append("f" if letter == "s" else letter, entry.key)
            moved += 1
    return moved


def _redeliver(world: World, entry: Entry, consumer: str, deaths: int, how: str) -> str:
    record = world.records.get(entry.key)
    is_run = _is_run_of(record, entry, consumer)
    world.drop(entry)
    if not is_run or record is None:
        return "nothing"
    if record.cancelled:
        world.finish(entry.key, "cancelled")
        return "cancelled"
    if record.deaths + deaths >= world.max_deaths:
        record.deaths, record.poison = record.deaths + deaths, True
        world.log_attempt(record, "process died")
        payload, text = world.poison
        world.finish(entry.key, "failed", result=payload, error=text)
        return "poison"
    world.requeue(entry.key, consumer, record.deaths + deaths, how)
    return "moved"


def report(
    world: World, key: str, claim: Claimed | None, operation: str, value: int
) -> Progress | None:
    """Change the progress of a key; None if the run that reports was superseded."""
    record = world.records.get(key)
    if claim is not None:
        if record is None or record.entry is not claim.entry:
            return None
        if record.generation != claim.generation:
            return None
    progress = world.progress_of(key)
    match operation:
        case "total":
            progress.total = int(value)
        case "increment":
            progress.current += int(value)
        case _:
            progress.message = str(value) or None
    world.events.append(
        ("progress", key, progress.current, progress.total, world.now, progress.message)
    )
    return progress
