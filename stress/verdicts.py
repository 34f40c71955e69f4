"""What a run came to, in words (pure)."""


def judged(violations: list[str], most_shown: int | None = None) -> list[str]:
    """How many promises were broken, in a line, and below it which.

    Arguments:
        violations: a sentence each.
        most_shown: so many of them at most, and how many more there are; None: all.
    """
    if not violations:
        return ["every promise was kept"]
    count = len(violations)
    shown = violations[:most_shown]
    more = count - len(shown)
    return [
        "1 promise was broken:" if count == 1 else f"{count} promises were broken:",
        *(f"  {each}" for each in shown),
        *([f"  and {more} more"] if more else ()),
    ]
