"""Numbers of things in log lines: one worker, not 1 workers (pure)."""


def counted(number: int, thing: str) -> str:
    """`1 worker`, `2 workers`, for a noun whose plural ends in s."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
