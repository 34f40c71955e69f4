"""The strikes in effect and their matching against calls: pure, without a connection.

Who writes strikes chooses their values, and the hashes of numbers and tuples can be foreseen. So no
set or dict here has such a value as its key: a table of values that collide takes the square of
their number, and blocked the event loop for half a minute.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any

from docket.annotations import signature_of
from docket.serialization import typed_values
from docket.strike_rules import (
    Operator,
    Rule,
    Strike,
    StrikeInstruction,
    compares,
    log_incompatible,
)

logger = logging.getLogger("docket.strikelist")

#: Most values of one hash beside each other: among honest ones there are hardly two.
MAX_COLLIDING = 32
#: Most strikes by another operator than `==`: a call is compared with each of its parameter.
MAX_COMPARED = 10_000
#: Comparisons of a call that are not possible are logged up to so many, then their number.
INCOMPATIBLE_TOLD = 10


class Refusal(Enum):
    """The reason why a strike has no effect in a process; what it hinders, for a message."""

    COLLIDES = f"its value has the hash of {MAX_COLLIDING} others, which none but an attacker makes"
    TOO_MANY = f"there are {MAX_COMPARED} strikes by other operators than == already"


class StrikeTable:
    """The strikes in effect, and their matching against calls.

    Shared strikes come from the stream, those of this process alone do not. The shared ones can be
    loaded anew in parts, while the old ones stay in effect.

    Attributes:
        refused: the number of strikes so far that have no effect here; see Refusal.
    """

    def __init__(self) -> None:
        self._shared = _Rules()
        self._own = _Rules()
        self._fresh: _Rules | None = None
        #: Applied since the shared ones have been loaded anew.
        self._meanwhile: list[StrikeInstruction] = []
        self.refused = 0

    def __len__(self) -> int:
        return len(self._shared) + len(self._own)

    def refusal(self, rule: Rule) -> Refusal | None:
        """Return the reason why a strike by this rule would have no effect; None if it has one."""
        return None if rule in self._own else self._shared.refusal(rule)

    def apply(self, instruction: StrikeInstruction, *, is_shared: bool) -> bool:
        """Apply an instruction and return whether that changed the strikes in effect."""
        before = len(self)
        rule = instruction.rule
        if not isinstance(instruction, Strike):
            self._shared.remove(rule)
            self._own.remove(rule)
        elif is_shared:
            if self._add(self._shared, rule):
                self._own.remove(rule)
        elif rule not in self._shared:
            self._add(self._own, rule)
        if is_shared and self._fresh is not None:
            self._meanwhile.append(instruction)
        return len(self) != before

    def reload(self, instructions: Iterable[StrikeInstruction]) -> None:
        """Replace all shared strikes by these; those of this process alone stay."""
        self.begin_reload()
        self.load(instructions)
        self.end_reload()

    def begin_reload(self) -> None:
        """Begin to replace all shared strikes by those that are loaded until `end_reload`."""
        self._fresh, self._meanwhile = _Rules(), []

    def load(self, instructions: Iterable[StrikeInstruction]) -> None:
        """Load a part of the shared strikes."""
        if self._fresh is None:
            raise RuntimeError("load() without begin_reload()")
        for instruction in instructions:
            if isinstance(instruction, Strike):
                self._add(self._fresh, instruction.rule)
            else:
                self._fresh.remove(instruction.rule)

    def end_reload(self) -> None:
        """Put the loaded strikes in the place of the shared ones."""
        self.load(self._meanwhile)
        if self._fresh is not None:
            self._shared, self._fresh = self._fresh, None
        self._meanwhile = []
        for rule in [rule for rule in self._own if rule in self._shared]:
            self._own.remove(rule)

    def strikes_values(self, arguments: Mapping[str, Any]) -> bool:
        """Return whether a strike on a parameter of all tasks applies to these values."""
        return any(conditions.match(arguments) for conditions in self._found(None))

    def strikes_call(
        self,
        name: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> bool:
        """Return whether a strike applies to a call of a task; defaults count as arguments."""
        found = [*self._found(None), *self._found(name)]
        if any(conditions.entirely for conditions in found):
            return True
        if not found:
            return False
        arguments = _arguments(function, args, kwargs)
        return any(conditions.match(arguments) for conditions in found)

    def _found(self, function: str | None) -> list[_Conditions]:
        both = (self._shared.of(function), self._own.of(function))
        return [conditions for conditions in both if conditions is not None]

    def _add(self, rules: _Rules, rule: Rule) -> bool:
        """Add a rule unless it is refused; return whether it is there."""
        is_refused = rules.refusal(rule) is not None
        if is_refused:
            self.refused += 1
        else:
            rules.add(rule)
        return not is_refused


class _Rules:
    """Rules by their function, in the form in which calls are matched."""

    def __init__(self) -> None:
        self._conditions: dict[str | None, _Conditions] = {}
        self._length = 0
        self._compared = 0

    def __len__(self) -> int:
        return self._length

    def __contains__(self, rule: Rule) -> bool:
        conditions = self._conditions.get(rule.function)
        return conditions is not None and rule in conditions

    def __iter__(self) -> Iterator[Rule]:
        for function, conditions in self._conditions.items():
            yield from conditions.rules(function)

    def of(self, function: str | None) -> _Conditions | None:
        return self._conditions.get(function)

    def refusal(self, rule: Rule) -> Refusal | None:
        if rule in self:
            return None
        if _is_compared(rule) and self._compared >= MAX_COMPARED:
            return Refusal.TOO_MANY
        conditions = self._conditions.get(rule.function)
        return Refusal.COLLIDES if conditions is not None and conditions.is_crowded(rule) else None

    def add(self, rule: Rule) -> None:
        if self._conditions.setdefault(rule.function, _Conditions()).add(rule):
            self._count(rule, 1)

    def remove(self, rule: Rule) -> None:
        conditions = self._conditions.get(rule.function)
        if conditions is not None and conditions.remove(rule):
            self._count(rule, -1)
            if conditions.is_empty():
                del self._conditions[rule.function]

    def _count(self, rule: Rule, change: int) -> None:
        self._length += change
        if _is_compared(rule):
            self._compared += change


def _is_compared(rule: Rule) -> bool:
    return rule.parameter is not None and rule.operator is not Operator.EQUAL


class _Conditions:
    """The strikes of one task, or of all: by parameter and operator."""

    def __init__(self) -> None:
        self.entirely = False
        self._values: dict[str, dict[Operator, _Values]] = {}

    def __contains__(self, rule: Rule) -> bool:
        if rule.parameter is None:
            return self.entirely
        values = self._values_of(rule)
        return values is not None and rule.value in values

    def rules(self, function: str | None) -> Iterator[Rule]:
        if self.entirely:
            yield Rule(function, None, Operator.EQUAL, None)
        for parameter, operators in self._values.items():
            for operator, values in operators.items():
                yield from (Rule(function, parameter, operator, value) for value in values)

    def is_empty(self) -> bool:
        return not self.entirely and not self._values

    def is_crowded(self, rule: Rule) -> bool:
        values = self._values_of(rule)
        return values is not None and values.is_crowded(rule.value)

    def add(self, rule: Rule) -> bool:
        """Add a rule and return whether it is new."""
        if rule.parameter is None:
            is_new, self.entirely = not self.entirely, True
            return is_new
        operators = self._values.setdefault(rule.parameter, {})
        return operators.setdefault(rule.operator, _Values()).add(rule.value)

    def remove(self, rule: Rule) -> bool:
        """Remove a rule and return whether it was there."""
        if rule.parameter is None:
            was_there, self.entirely = self.entirely, False
            return was_there
        values = self._values_of(rule)
        if values is None or not values.remove(rule.value):
            return False
        if not values:
            del self._values[rule.parameter][rule.operator]
            if not self._values[rule.parameter]:
                del self._values[rule.parameter]
        return True

    def match(self, arguments: Mapping[str, Any]) -> bool:
        failures = _Failures()
        is_match = any(
            _match(argument, operators, failures)
            for parameter, argument in arguments.items()
            if (operators := self._values.get(parameter)) is not None
        )
        failures.log_rest()
        return is_match

    def _values_of(self, rule: Rule) -> _Values | None:
        operators = None if rule.parameter is None else self._values.get(rule.parameter)
        return None if operators is None else operators.get(rule.operator)


class _Values:
    """Values that compare as those of a set do.

    By their hashes as bytes: the hash of bytes depends on a secret of the process.
    """

    def __init__(self) -> None:
        self._by_hash: dict[bytes, list[Hashable]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_hash)

    def __iter__(self) -> Iterator[Hashable]:
        for values in self._by_hash.values():
            yield from values

    def __contains__(self, value: object) -> bool:
        return value in self._by_hash.get(_hash(value), ())

    def is_crowded(self, value: Hashable) -> bool:
        # A class of somebody's own may have hashes as it likes: its values are pickles, whose
        # writers can stop a worker in any case.
        values = self._by_hash.get(_hash(value), ())
        return len(values) >= MAX_COLLIDING and typed_values.is_known(value)

    def add(self, value: Hashable) -> bool:
        values = self._by_hash.setdefault(_hash(value), [])
        if value in values:
            return False
        values.append(value)
        return True

    def remove(self, value: Hashable) -> bool:
        key = _hash(value)
        values = self._by_hash.get(key, [])
        if value not in values:
            return False
        values.remove(value)
        if not values:
            del self._by_hash[key]
        return True


def _hash(value: object) -> bytes:
    return hash(value).to_bytes(8, "little", signed=True)


class _Failures:
    """The comparisons of one call that were not possible: logged, but not by the thousand."""

    def __init__(self) -> None:
        self._count = 0

    def note(self, operator: Operator, value: object, error: Exception, argument: object) -> None:
        self._count += 1
        if self._count <= INCOMPATIBLE_TOLD:
            log_incompatible(operator, value, error, argument)

    def log_rest(self) -> None:
        if self._count > INCOMPATIBLE_TOLD:
            logger.warning(
                "%d more strike conditions have incompatible types", self._count - INCOMPATIBLE_TOLD
            )


def _match(argument: Any, operators: Mapping[Operator, _Values], failures: _Failures) -> bool:
    for operator, values in operators.items():
        is_among = _is_among(argument, values) if operator is Operator.EQUAL else None
        if is_among:
            return True
        if is_among is None and any(
            _matches(argument, operator, value, failures) for value in values
        ):
            return True
    return False


def _is_among(argument: Any, values: _Values) -> bool | None:
    """Look a value up by its hash; None if it has none, so that it is compared with each."""
    try:
        return argument in values
    except Exception:
        # The argument's own __hash__ may raise anything.
        return None


def _matches(argument: Any, operator: Operator, value: Hashable, failures: _Failures) -> bool:
    try:
        return compares(argument, operator, value)
    except Exception as error:
        # The argument's own comparison may raise anything.
        failures.note(operator, value, error, argument)
        return False


_signature = lru_cache(maxsize=1024)(signature_of)


def _arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Mapping[str, Any]:
    try:
        # Partially: the parameters of dependencies have no argument yet.
        bound = _signature(function).bind_partial(*args, **kwargs)
    except TypeError:
        return kwargs  # The function does not accept this call, which fails later, more clearly.
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    for parameter in bound.signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(parameter.name))
    return arguments
