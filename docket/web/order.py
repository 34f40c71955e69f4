"""Orders of an operator: what the fields of an address or a form ask for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from starlette.exceptions import HTTPException

from docket.clock import now
from docket.docket import StrikeRecord
from docket.listing import Filter
from docket.store.keys import check_task_key
from docket.strike_rules import Operator
from docket.web.actions import OF_TASKS, Action
from docket.web.pages.rules import condition_of
from docket.web.pages.tasks import described, filter_of
from docket.web.view import MOST_FIELDS

#: Tasks that may be named by their keys in one order.
MOST_KEYS = 500
#: The ends of a pause, as the form offers them; "" lasts until it is resumed.
PAUSE_LENGTHS = {
    "": None,
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "8h": timedelta(hours=8),
    "24h": timedelta(hours=24),
}
#: The times that a task can be given, as the form offers them.
DELAYS = {
    "1m": timedelta(minutes=1),
    "10m": timedelta(minutes=10),
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
}
#: A name that a log may have without quotes.
_PLAIN = re.compile(r"[\w.:/@#+=|~%-]+")
#: The types of a strike's value; none of them runs any code.
VALUE_TYPES = ("text", "integer", "number", "true or false")


@dataclass(frozen=True)
class Order:
    """An action, and the fields that say what it is to be done to.

    Attributes:
        action: the action.
        fields: values by name; a field may be given several times.
    """

    action: Action
    fields: dict[str, list[str]]

    @classmethod
    def of(cls, name: str, pairs: Iterable[tuple[str, str]]) -> Order:
        """Read an order.

        Raises:
            HTTPException: there is no such action.
        """
        try:
            action = Action(name)
        except ValueError:
            raise HTTPException(404, "There is no such action.") from None
        if action is Action.VIEW:
            raise HTTPException(404, "There is no such action.")
        fields: dict[str, list[str]] = {}
        for field, value in _unfolded(pairs):
            fields.setdefault(field, []).append(value)
        return cls(action, fields)

    def written(self, without: Collection[str]) -> str:
        """Write the fields as the one that a form carries along; see `_unfolded`."""
        kept = [
            (name, value)
            for name, values in self.fields.items()
            if name not in {"confirmed", *without}
            for value in values
        ]
        return urlencode(kept, errors="replace")

    def one(self, name: str) -> str:
        """Return the value of a field; empty if it is not given."""
        return self.fields.get(name, [""])[-1]

    @property
    def is_confirmed(self) -> bool:
        """Return whether the operator has seen what it will do."""
        return self.one("confirmed") == "yes"

    @property
    def keys(self) -> Sequence[str]:
        """The keys of the tasks that are meant.

        Raises:
            HTTPException: there are too many, or one is no key.
        """
        keys = list(dict.fromkeys(key for key in self.fields.get("key", ()) if key))
        if len(keys) > MOST_KEYS:
            raise HTTPException(400, f"At most {MOST_KEYS} tasks can be named: use a filter.")
        try:
            for key in keys:
                check_task_key(key)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        return keys

    @property
    def filter(self) -> Filter | None:
        """The filter of the tasks that are meant, if they are not named."""
        return filter_of(self.fields) if self.one("by") == "filter" else None

    @property
    def function(self) -> str | None:
        """The function that is meant; None for the whole docket."""
        return self.one("function") or None

    @property
    def reason(self) -> str | None:
        """The reason that is given."""
        return self.one("reason").strip() or None

    def when(self) -> datetime:
        """Return the time that a task is to be given.

        Raises:
            HTTPException: it is none.
        """
        delay, at = self.one("delay"), self.one("at").strip()
        if at:
            return _instant(at)
        if delay in DELAYS:
            return now() + DELAYS[delay]
        raise HTTPException(400, "Choose a delay, or write an instant.")

    def until(self) -> datetime | timedelta | None:
        """Return the end of a pause; None if it has none."""
        at = self.one("at").strip()
        return _instant(at) if at else PAUSE_LENGTHS.get(self.one("length"))

    def condition(self) -> tuple[str | None, str | None, Operator, Any]:
        """Return function, parameter, operator and value of a strike.

        Raises:
            HTTPException: they make none.
        """
        parameter = self.one("parameter").strip() or None
        if self.function is None and parameter is None:
            raise HTTPException(400, "A strike needs a function, or a parameter, or both.")
        try:
            operator = Operator(self.one("operator") or "==")
            value = self._value(operator) if parameter else None
        except ValueError as error:
            raise HTTPException(400, f"This strike cannot be used: {error}") from error
        return self.function, parameter, operator, value

    def target(self) -> str:
        """Return in words what it is done to, for the audit log."""
        if self.action in OF_TASKS:
            return self._tasks()
        match self.action:
            case Action.STRIKE:
                function, parameter, operator, value = self.condition()
                on = f" {parameter} {operator.value} {value!r}" if parameter else ""
                return f"{named(function) if function else 'all functions'}{on}"
            case Action.SCALE:
                return f"to {named(self.one('size'))}"
            case Action.RESTART:
                return f"slot {named(self.one('slot'))}"
            case Action.RELOAD | Action.DUMP:
                return "the pool"
            case _:
                return named(self.function) if self.function else "the whole docket"

    def _tasks(self) -> str:
        wanted = self.filter
        if wanted is not None:
            return f"all: {described(wanted)}"
        # The number first: of many keys the log has the first ones.
        keys = self.keys
        number = f"{len(keys)} tasks: " if len(keys) > 1 else ""
        return number + ", ".join(map(named, keys))

    def _value(self, operator: Operator) -> Any:
        kind, text = self.one("type") or "text", self.one("value")
        if operator is not Operator.BETWEEN:
            return _read(kind, text)
        bounds = text.split(",")
        if len(bounds) != 2:
            raise ValueError("between needs two values with a comma between them")
        return _read(kind, bounds[0].strip()), _read(kind, bounds[1].strip())


def _unfolded(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Take fields apart that are written as one, and keys that are quoted.

    A browser changes the line breaks in what a form sends; keys may have any.
    """
    for name, value in pairs:
        if name == "order":
            try:
                yield from parse_qsl(value, keep_blank_values=True, max_num_fields=MOST_FIELDS)
            except ValueError:
                raise HTTPException(400, "The form cannot be read.") from None
        elif name == "task":
            yield "key", unquote(value)
        else:
            yield name, value


def named(name: str) -> str:
    """Return a name for the audit log: in quotes, unless it cannot be taken for anything else.

    Whoever adds a task chooses its key, which could read like a filter, or like the rest of a line.
    """
    return name if _PLAIN.fullmatch(name) else repr(name)


def struck(strike: StrikeRecord) -> str:
    """Return a strike in words, for the audit log."""
    function = named(strike.function) if strike.function else "all functions"
    return f"{function}, {condition_of(strike)}"


def _read(kind: str, text: str) -> str | int | float | bool:
    match kind:
        case "integer":
            return int(text)
        case "number":
            return float(text)
        case "true or false":
            if text.lower() not in ("true", "false"):
                raise ValueError(f"{text[:80]!r} is neither true nor false")
            return text.lower() == "true"
        case _:
            return text


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.utcoffset() is None:
        raise HTTPException(
            400, "Write an instant with its time zone, such as 2030-01-31T18:00+01:00."
        )
    return at
