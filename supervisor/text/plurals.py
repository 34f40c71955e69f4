"""Numbers of things in log lines: one worker, not 1 workers (pure)."""


def pluralize(number: int, thing: str, things: str | None = None, *, form: str = "") -> str:
    """Write `1 worker`, `2 workers`.

    Arguments:
        things: the plural where it does not just end in s.
        form: the format of the number; a comma separates its thousands.
    """
    return f"{number:{form}} {thing if number == 1 else things or f'{thing}s'}"
