"""The state of one docket, and the few steps that every transition is made of."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.support.model import slots
from tests.support.model.values import Entry, Event, Kept, Letter, Progress, Record

#: The order in which streams are gone through: who waited longest first.
LETTERS: tuple[Letter, ...] = ("x", "f", "s")
#: Attempts that a record remembers: the newest.
MOST_ATTEMPTS = 20


@dataclass
class World:
    """Everything there is of a docket.

    Attributes:
        ttl: how long the record of an ended execution is kept (ticks); 0 keeps none.
        keep_ticks, kept_most: how long failed ones are kept (ticks), and how many.
        lease: after how many ticks without renewal a run counts as lost.
        max_deaths: with how many deaths a task is poison.
        poison: payload and text of its error.
        remembered: how many requests before the last a record knows.
        watched_since, watched_until: leases are judged by who has watched them without a gap.
        streams: letter -> entries, those that were delivered included, oldest first.
        queue: key -> due; in the order in which those of the same tick are due.
        epochs: of the consumers that are registered.
        events: published since somebody took them.
        lines: scope -> who waits for one of its slots, in order.
        holds: entries that hold slots, and the scopes.
        pauses: functions, and "" for the whole docket -> when the pause ends, or ended (tick).
        kept: key -> the newest failed execution, in the order in which they failed.
        calls: how many there were: what failed in one call has one instant for the server.
        ended: state -> generation and key of those that ended so, the newest first.
        ended_until: state -> when that list expires.
    """

    ttl: int
    keep_ticks: int
    kept_most: int
    lease: int
    max_deaths: int
    poison: tuple[str, str]
    remembered: int
    now: int = 0
    watched_since: int = 0
    watched_until: int = 0
    records: dict[str, Record] = field(default_factory=dict[str, Record])
    streams: dict[str, list[Entry]] = field(default_factory=lambda: {"x": [], "f": [], "s": []})
    queue: dict[str, int] = field(default_factory=dict[str, int])
    epochs: dict[str, int] = field(default_factory=dict[str, int])
    events: list[Event] = field(default_factory=list[Event])
    lines: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    holds: dict[Entry, list[str]] = field(default_factory=dict[Entry, list[str]])
    pauses: dict[str, int] = field(default_factory=dict[str, int])
    first_come: int = 0
    kept: dict[str, Kept] = field(default_factory=dict[str, Kept])
    calls: int = 0
    ended: dict[str, list[tuple[int, str]]] = field(
        default_factory=lambda: {"completed": [], "cancelled": []}
    )
    ended_until: dict[str, int] = field(default_factory=dict[str, int])

    def pass_time(self, ticks: int) -> None:
        """Move the clock on, and expire the records of ended executions."""
        self.now += ticks
        for key, record in list(self.records.items()):
            if record.expires is not None and record.expires <= self.now:
                del self.records[key]
        for key, kept in list(self.kept.items()):
            if kept.expires <= self.now:
                del self.kept[key]
        for state, until in self.ended_until.items():
            if until <= self.now:
                self.ended[state].clear()

    def take_events(self) -> list[Event]:
        """Take the events published since the last call."""
        events, self.events = self.events, []
        return events

    def waiting(self, letter: str) -> list[Entry]:
        """The entries of a stream that nobody has taken."""
        return [entry for entry in self.streams[letter] if entry.owner is None]

    def pending(self, letter: str, consumer: str) -> list[Entry]:
        """The entries of a stream that a consumer has taken."""
        return [entry for entry in self.streams[letter] if entry.owner == consumer]

    # Steps ------------------------------------------------------------------------------------

    def publish(
        self,
        key: str,
        state: str,
        when: int,
        worker: str | None = None,
        started: int | None = None,
        completed: int | None = None,
        reason: str | None = None,
    ) -> None:
        self.events.append(("state", key, state, when, worker, started, completed, reason))

    def append(self, letter: Letter, key: str) -> Entry:
        entry = Entry(letter, key)
        self.streams[letter].append(entry)
        return entry

    def remove(self, entry: Entry) -> None:
        """Remove an entry from its stream, and nothing else; twice is fine."""
        stream = self.streams.get(entry.letter, [])
        if entry in stream:
            stream.remove(entry)

    def drop(self, entry: Entry) -> None:
        """Remove an entry from its stream, and pass its slots to the tasks that wait."""
        self.remove(entry)
        self.release([entry])

    def release(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            slots.release(self, entry)

    def finish(
        self,
        key: str,
        state: str,
        *,
        result: str | None = None,
        error: str | None = None,
        result_key: str = "",
    ) -> None:
        record = self.records[key]
        self.publish(
            key, state, record.when, record.worker, record.started, self.now, error or None
        )
        if state == "failed":
            self.keep(key, error or "")
        if self.ttl == 0:
            del self.records[key]
            return
        if state != "failed":
            self.ended[state].insert(0, (record.generation, key))
            self.ended_until[state] = self.now + self.ttl
        record.state, record.completed, record.expires = state, self.now, self.now + self.ttl
        record.result, record.error, record.result_key = result, error, result_key or None

    def keep(self, key: str, error: str) -> None:
        """Keep a failed execution, the newest of its key; the oldest of all give way."""
        record = self.records[key]
        self.kept.pop(key, None)
        self.kept[key] = Kept(
            record.generation,
            record.function,
            record.call,
            error,
            self.calls,
            self.now + self.keep_ticks,
            tuple(record.attempts),
            record.perpetual,
            self.now,
            record.last_success,
            record.last_failure,
        )
        while len(self.kept) > self.kept_most:
            # Of those of one call, the first by name: as in a sorted set.
            oldest = min(self.kept, key=lambda each: (self.kept[each].failed_at, each))
            del self.kept[oldest]

    def log_attempt(self, record: Record, how: str) -> None:
        record.attempts = [*record.attempts, (record.attempt, how)][-MOST_ATTEMPTS:]

    def requeue(
        self, key: str, came_from: str, deaths: int, how: str, *, has_outlived: bool = False
    ) -> None:
        """Append to the redelivery stream, or to the quarantine if a process died under it.

        has_outlived: this run went on for longer than the one under which it died.
        """
        record = self.records[key]
        if record.state == "running":
            self.log_attempt(record, how)
        self.forget_run(record)
        record.entry = self.append("x" if deaths and not has_outlived else "f", key)
        record.state, record.came_from, record.deaths = "queued", came_from, deaths
        self.publish(key, "queued", record.when)

    def forget_run(self, record: Record) -> None:
        record.worker = record.started = record.progress = None

    def place(self, key: str, when: int) -> None:
        """Put a live record where it waits for its next run."""
        record = self.records[key]
        if when > self.now:
            self.queue[key] = when
            record.state = "scheduled"
        else:
            record.entry = self.append("x" if record.deaths else "s", key)
            record.state = "queued"
        record.when = when
        self.publish(key, record.state, record.when)

    def leave_queue(self, key: str) -> None:
        """Take a scheduled task away, and free its place in line."""
        self.queue.pop(key, None)
        slots.leave(self, key)

    def start(self, key: str, entry: Entry, consumer: str) -> None:
        record = self.records[key]
        record.state, record.worker, record.started = "running", consumer, self.now
        record.entry = entry
        self.publish(key, "running", record.when, consumer, self.now)

    def promote(self, limit: int) -> int:
        """Make due tasks ready, and return their number."""
        due = sorted((w, n, k) for n, (k, w) in enumerate(self.queue.items()) if w <= self.now)
        for _, _, key in due[:limit]:
            del self.queue[key]
            record = self.records[key]
            record.entry = self.append("x" if record.deaths else "s", key)
            record.state = "queued"
            self.publish(key, "queued", record.when)
        return len(due[:limit])

    def progress_of(self, key: str) -> Progress:
        """The progress of the present phase of a key, which may have no record yet."""
        record = self.records.get(key)
        if record is None:
            record = Record(generation=0, function="", call="", state="", when=0)
            if self.ttl:
                self.records[key] = record
        if not record.generation:
            record.expires = self.now + self.ttl
        phase = "waiting" if record.is_live else "ended"
        if record.state == "running" and record.entry is not None:
            phase = record.entry
        if record.progress is None or record.progress.phase != phase:
            record.progress = Progress(phase)
        return record.progress
