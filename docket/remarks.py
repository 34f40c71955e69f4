"""The remarks of operators: a reason, and a name, that are kept with what they did."""

#: Most characters of a remark: all of them are listed together.
MAX_REMARK = 1000


def remark(name: str, text: object) -> str | None:
    """Return a remark that a caller gave, or None for none, or an empty one.

    Args:
        name: the name of the argument, for the error.
        text: the remark.

    Raises:
        TypeError: it is no str.
        ValueError: it is over MAX_REMARK.
        UnicodeEncodeError: it holds lone surrogates, which no encoding can store.
    """
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, not {type(text).__name__}: {text!r}")
    if len(text) > MAX_REMARK:
        raise ValueError(
            f"{name} has {len(text)} characters, over the limit of {MAX_REMARK}: {text[:40]!r}..."
        )
    text.encode()
    return text or None
