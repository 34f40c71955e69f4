"""Text that is not what UTF-8 can say."""


def is_utf8(text: str) -> bool:
    """Tell whether text that came from the system was UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
