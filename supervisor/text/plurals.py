"""Numbers of things in log lines: one worker, not 1 workers (pure)."""


def pluralize(number: int, thing: str, things: str | None = None) -> str:
    """`1 worker`, `2 workers`; `things` is the plural where it does not just end in s."""
    return f"{number} {thing if number == 1 else things or f'{thing}s'}"
