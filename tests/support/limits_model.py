"""What slots promise, in Python: who holds them, who waits, and who is next. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: How many slots a run wants of each scope: scope -> the limit it goes by.
Wants = Mapping[str, int]


@dataclass
class Model:
    """Slots of scopes, by the keys of those who hold them or wait for them.

    Attributes:
        holders: run -> the scopes it holds; a run is whatever the caller tells runs apart by.
        waiting: key -> its place in the order.
        wants: of those who wait.
        lines: scope -> keys that stand in line there.
    """

    holders: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    waiting: dict[str, int] = field(default_factory=dict[str, int])
    wants: dict[str, Wants] = field(default_factory=dict[str, Wants])
    lines: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    def held(self, scope: str) -> int:
        return sum(scope in scopes for scopes in self.holders.values())

    def line(self, scope: str) -> list[str]:
        return sorted(self.lines.get(scope, set()), key=self.waiting.__getitem__)

    def has_room(self, scope: str, size: int, place: int) -> bool:
        before = sum(self.waiting[key] < place for key in self.lines.get(scope, set()))
        held = self.held(scope)
        return held < size and held + before < size

    def acquire(self, run: str, key: str, wants: Wants, place: int) -> bool:
        """Whether the run may go on; if not, its key waits."""
        blocked = [s for s, size in wants.items() if not self.has_room(s, size, place)]
        if not blocked:
            self.holders[run] = list(wants)
            return True
        self.waiting[key], self.wants[key] = place, wants
        for scope in blocked:
            self.lines.setdefault(scope, set()).add(key)
        self._serve(list(wants))
        return False

    def release(self, run: str) -> None:
        """A run is over; whoever is woken holds its slots under `woken:KEY`, as a run."""
        self._serve(self.holders.pop(run, []))

    def leave(self, key: str) -> None:
        """Somebody took a waiting key away."""
        if key in self.waiting:
            scopes = list(self.wants[key])
            self._out_of_line(key)
            self._serve(scopes)

    def look_after(self) -> None:
        """What the sweep does; it wakes nobody, unless somebody was forgotten."""
        for key in sorted(self.waiting):
            if not self._is_admitted(key):
                self._serve(list(self.wants[key]))

    def _out_of_line(self, key: str) -> None:
        for line in self.lines.values():
            line.discard(key)
        del self.waiting[key], self.wants[key]

    def _serve(self, scopes: list[str]) -> None:
        for scope in scopes:
            passed_over = 0
            while passed_over < len(self.line(scope)):
                key = self.line(scope)[passed_over]
                size = self.wants[key][scope]
                if self._is_admitted(key):
                    self.holders[f"woken:{key}"] = list(self.wants[key])
                    self._out_of_line(key)
                    continue
                passed_over += 1
                if self.held(scope) + passed_over >= size:
                    break

    def _is_admitted(self, key: str) -> bool:
        place, wants = self.waiting[key], self.wants[key]
        blocked = [s for s, size in wants.items() if not self.has_room(s, size, place)]
        for scope in blocked:
            self.lines.setdefault(scope, set()).add(key)
        return not blocked

    def forgotten(self) -> list[str]:
        """Who waits although nothing that it waits for is taken or kept for somebody else."""
        return [
            key
            for key, place in self.waiting.items()
            if all(self.has_room(s, size, place) for s, size in self.wants[key].items())
        ]
