"""The strikes in effect: stricken calls are neither scheduled nor run."""

from dataclasses import dataclass, field


@dataclass
class Strikes:
    """Strikes in effect: a function, and of which argument; None for every call of it."""

    rules: set[tuple[str, int | None]] = field(default_factory=set[tuple[str, int | None]])

    def strike(self, function: str, value: int | None) -> None:
        self.rules.add((function, value))

    def restore(self, function: str, value: int | None) -> None:
        self.rules.discard((function, value))

    def is_stricken(self, function: str, value: int) -> bool:
        return (function, None) in self.rules or (function, value) in self.rules
