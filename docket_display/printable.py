"""Texts of others, made safe for a terminal and for the lines of a log (pure).

Keys, names, arguments and errors may hold anything: a line break could forge a line of the log, and
an escape sequence or a change of the writing direction could deceive the reader of a terminal.
"""

import json
import re

#: Most characters that a table or a view shows of one text.
MAX_SHOWN = 4096

#: What no record of a log begins with, and every line of a traceback or a stack does: a blank, or
#: a letter. A record begins with its time, a bracket or a brace.
_CONTINUES = re.compile(r"\s|[^\W\d]")


#: Most bytes that are shown of a name that is no UTF-8.
MAX_UNREADABLE = 1024


def decoded(name: bytes) -> str:
    """Return a name as text; of one that is no UTF-8 the beginning, with escapes.

    Not all of it: to escape it takes a microsecond a byte, and who writes it chooses its length.
    """
    try:
        return name.decode()
    except UnicodeDecodeError:
        mark = "[...]" if len(name) > MAX_UNREADABLE else ""
        return name[:MAX_UNREADABLE].decode(errors="backslashreplace") + mark


def on_one_line(text: str) -> str:
    """Return a text with every character escaped that is not printable, as \\x1b or \\n."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def in_view(text: str) -> str:
    """Return the beginning of a text on one line, for a table or a view of a task."""
    text = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}[...]"
    return on_one_line(text)


def on_lines(text: str) -> str:
    """Return the lines of a record of a log, with everything else escaped that is not printable.

    A line after the first that could be taken for the beginning of another record is indented.
    """
    if text.isprintable():
        return text
    first, *rest = text.split("\n")
    return "\n".join([on_one_line(first), *map(_continuation, rest)])


def _continuation(line: str) -> str:
    line = on_one_line(line)
    return line if not line or _CONTINUES.match(line) else f"  {line}"


def in_json(document: str) -> str:
    """Return JSON on one line with what is not printable as its escapes, as \\u202e."""
    if document.isprintable():
        return document
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in document)
