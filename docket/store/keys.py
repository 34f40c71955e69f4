"""Every key of a docket, its Redis type beside it.

All carry the hash tag `{name}`, so that a docket lives in one cluster slot.
"""

from enum import Enum
from functools import cached_property

from redis.crc import key_slot

#: The consumer group of every stream of tasks, as in _streams.lua.
WORKER_GROUP = "workers"

#: The beginning of the scope in which the tasks of a paused function wait, as in _pauses.lua.
PAUSED_SCOPE = "\x1fpaused:"

#: The greatest id of a stream: nothing comes after it, and no server takes a range from there.
LAST_ID = b"18446744073709551615-18446744073709551615"

#: Most characters of a task's key: it stands in a stream, in the queue, in events and in logs.
MAX_KEY_LENGTH = 65_536
#: Most characters of the name of a docket or a worker: it stands in every key, line and metric.
MAX_NAME_LENGTH = 1024


class Stream(Enum):
    """A stream of tasks to run, by the letter that the names of its entries begin with."""

    READY = "s"
    REDELIVERY = "f"
    QUARANTINE = "x"


#: In the order of `Keys.places`.
_IN_PLACES = (Stream.READY, Stream.REDELIVERY, Stream.QUARANTINE)


class Keys:
    """The keys of one docket.

    Args:
        name: the docket's name: not empty, without braces, since it is the hash tag of every key.

    Raises:
        ValueError: the name breaks that rule, or is over MAX_NAME_LENGTH or no text for a server.
        TypeError: it is no str.
    """

    def __init__(self, name: str) -> None:
        check_name(name, "A docket")
        if not name or "{" in name or "}" in name:
            raise ValueError(
                f"Docket name {name!r} is not usable: it may be neither empty nor hold braces, "
                "because it is the hash tag of every key"
            )
        self.name = name
        self.prefix = "{" + name + "}"

    def key(self, suffix: str) -> str:
        """A key of this docket."""
        return f"{self.prefix}:{suffix}"

    @cached_property
    def record_prefix(self) -> str:
        """The prefix of every record: a task's key is appended to it."""
        return self.key("task:")

    @cached_property
    def slot(self) -> int:
        """The cluster slot of all of these keys."""
        return key_slot(self.prefix.encode())

    def record(self, key: str) -> str:
        """HASH: the only record of a task."""
        return self.record_prefix + key

    @cached_property
    def stream(self) -> str:
        """STREAM: ready tasks, the key only; consumer group "workers"."""
        return self.key("stream")

    @cached_property
    def redelivery(self) -> str:
        """STREAM, same group, read first: tasks that are redelivered, requeued, given a slot."""
        # "front" since the first version: a key keeps its name.
        return self.key("front")

    @cached_property
    def quarantine(self) -> str:
        """STREAM, same group: tasks under which a process died; one suspect at a time a worker."""
        # "suspects" since the first version: a key keeps its name.
        return self.key("suspects")

    def exhausted(self, stream: str) -> str:
        """STREAM: one of the three whose ids are used up, until its tasks are delivered."""
        return self.key("exhausted" + stream.removeprefix(self.prefix))

    @cached_property
    def queue(self) -> str:
        """ZSET: future tasks, key -> when (milliseconds)."""
        return self.key("queue")

    @cached_property
    def wakeup(self) -> str:
        """LIST: at most one token, which tells an idle worker to look for tasks."""
        # "bell" since the first version: a key keeps its name.
        return self.key("bell")

    @cached_property
    def places(self) -> tuple[str, str, str, str, str]:
        """The first KEYS of most scripts, in the order of _streams.lua."""
        return (self.stream, self.redelivery, self.quarantine, self.queue, self.wakeup)

    def of(self, stream: Stream) -> str:
        """STREAM: that of this letter."""
        return self.places[_IN_PLACES.index(stream)]

    @cached_property
    def workers(self) -> str:
        """ZSET: registered consumers -> last heartbeat (server milliseconds)."""
        return self.key("workers")

    @cached_property
    def epochs(self) -> str:
        """HASH: registered consumers -> epoch; a consumer that is not in it may not exchange."""
        return self.key("epochs")

    @cached_property
    def leases(self) -> str:
        """HASH: registered consumers -> length of their leases, unless renewed (ms)."""
        return self.key("leases")

    @cached_property
    def strikes(self) -> str:
        """STREAM: strike and restore instructions."""
        return self.key("strikes")

    @cached_property
    def pauses(self) -> str:
        """HASH: names of paused functions, "" for the whole docket -> pause (see _pauses.lua)."""
        return self.key("pauses")

    def asked(self, token: str) -> str:
        """STRING: the answer to a pause, resumption or move that may arrive once more; expires."""
        return self.key(f"asked:{token}")

    @cached_property
    def watch(self) -> str:
        """STRING: start (server ms) of the sweeps of leases without a gap; expires."""
        return self.key("watch")

    @cached_property
    def strikes_channel(self) -> str:
        """Channel: the id of a new instruction in `strikes`."""
        return self.key("struck")

    @cached_property
    def statistics_prefix(self) -> str:
        """The prefix of every hash of statistics, as in add_statistics.lua."""
        return self.key("stats")

    def statistics(self, length: int, start: int) -> str:
        """HASH: what workers did in `length` seconds from `start` (s), by code and function."""
        return f"{self.statistics_prefix}:{length}:{start}"

    def slots(self, scope: str) -> str:
        """HASH: entries that hold a slot of a concurrency limit -> key."""
        return self.key(f"slots:{scope}")

    @cached_property
    def holds(self) -> str:
        """HASH: entries that hold slots -> their scopes."""
        return self.key("holds")

    def waiting(self, scope: str) -> str:
        """ZSET: keys that wait for a slot -> their place in the order."""
        return self.key(f"waiting:{scope}")

    def rate(self, scope: str) -> str:
        """ZSET: runs under a rate limit -> when they began (ms); expires."""
        return self.key(f"rate:{scope}")

    def rate_ahead(self, scope: str) -> str:
        """ZSET: runs over a rate limit -> when they are to begin (ms); expires."""
        return self.key(f"rate-ahead:{scope}")

    def cooldown(self, scope: str) -> str:
        """STRING: exists while the window of a cooldown lasts."""
        return self.key(f"cooldown:{scope}")

    def debounce(self, scope: str) -> str:
        """STRING: the first of the debounced tasks (key, generation), and its time; expires."""
        return self.key(f"debounce:{scope}")

    def worker_tasks(self, consumer: str) -> str:
        """SET: names of the functions that a consumer can run."""
        return self.key(f"worker-tasks:{consumer}")

    def worker_info(self, consumer: str) -> str:
        """HASH: what a consumer tells of its process, as JSON under "info"; expires."""
        return self.key(f"worker-info:{consumer}")

    def task_workers(self, function_name: str) -> str:
        """SET: consumers that can run a function."""
        return self.key(f"task-workers:{function_name}")

    def result(self, name: str) -> str:
        """STRING: a result that a user has put away, in JSON; may expire."""
        return self.key(f"result:{name}")

    def state_channel(self, key: str) -> str:
        """Channel: state events of a task."""
        return self.key(f"state:{key}")

    def progress_channel(self, key: str) -> str:
        """Channel: progress events of a task."""
        return self.key(f"progress:{key}")

    @cached_property
    def failed(self) -> str:
        """ZSET: failed executions that are kept, key -> when they failed (ms); expires."""
        return self.key("failed")

    def failed_record(self, key: str) -> str:
        """HASH: the record of the newest failed execution of a key; expires."""
        return self.key(f"failed-task:{key}")

    @cached_property
    def completed(self) -> str:
        """LIST: the newest that were completed: when (us), generation, key; expires."""
        return self.key("completed")

    @cached_property
    def cancelled(self) -> str:
        """LIST: the newest that were cancelled, in the same form; expires."""
        return self.key("cancelled")

    @cached_property
    def audit(self) -> str:
        """LIST: the newest acts of operators, in JSON (see audit.py)."""
        return self.key("audit")

    @cached_property
    def cancel_channel(self) -> str:
        """Channel: entry and key of a running task that was cancelled."""
        return self.key("cancel")

    @cached_property
    def wake_channel(self) -> str:
        """Channel: a task was scheduled to be due earlier than all others (milliseconds)."""
        return self.key("wake")


def sharded(channel: str) -> str:
    """Return the channel of the sharded messages that stand for those of a channel, in a cluster.

    Its own name tells the subscribers that know both kinds from others: see
    _messages_in_cluster.lua, which names it too.
    """
    return channel.replace("}", "}:sharded", 1)


def unsharded(channel: str) -> str:
    """Return the channel that a sharded one stands for."""
    return channel.replace("}:sharded", "}", 1)


def worker_of(consumer: str) -> str:
    """Return the name of a consumer's worker, which is the one that users see.

    The name of a consumer is that of its worker, a dot, and a part of its own.
    """
    return consumer.rpartition(".")[0] or consumer


def check_name(name: object, what: str) -> None:
    """Refuse a value that cannot be the name of a docket or a worker, when that is made.

    Args:
        name: the name.
        what: its owner, at the beginning of a message.

    Raises:
        TypeError: it is no str.
        ValueError: it is over MAX_NAME_LENGTH, or holds lone surrogates, which nothing can store.
    """
    if not isinstance(name, str):
        raise TypeError(f"{what}'s name must be a str, not {type(name).__name__}: {name!r:.100}")
    if len(name) > MAX_NAME_LENGTH:
        raise ValueError(
            f"{what}'s name has {len(name)} characters, over the limit of {MAX_NAME_LENGTH}: "
            f"{name[:40]!r}..."
        )
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{what}'s name {name!r} is no valid text: {error.reason}") from None


def check_task_key(key: object) -> None:
    """Refuse a value that cannot be a task's key, while its caller can still be told.

    In a batch it would fail the requests of others as well.

    Raises:
        TypeError: it is no str.
        ValueError: it is over MAX_KEY_LENGTH.
        UnicodeEncodeError: it holds lone surrogates, which no encoding can store.
    """
    if type(key) is str and key.isascii() and len(key) <= MAX_KEY_LENGTH:
        return
    if not isinstance(key, str):
        raise TypeError(f"The key of a task must be a str, not {type(key).__name__}: {key!r}")
    if len(key) > MAX_KEY_LENGTH:
        raise ValueError(
            f"The key of a task has {len(key)} characters, over the limit of {MAX_KEY_LENGTH}: "
            f"{key[:40]!r}..."
        )
    key.encode()
