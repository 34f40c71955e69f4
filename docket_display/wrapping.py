"""Texts that are wrapped between their words (pure).

A word that is longer than the line is left whole: whoever copies a key or a path gets all of it,
and the terminal wraps it as well as anything could.
"""

import re

#: A call with its key, as in `ship(...){order-17}`, is two words.
_WORD = re.compile(r"\s*\S+?(?:(?<=\))(?=\{)|(?=\s|\Z))")
#: Nothing but what Python draws below the code of a traceback.
_MARKS = re.compile(r"[\s^~]*")


def flow(text: str, width: int, column: int, indent: int) -> str:
    """Return a text with line ends between its words, for a place on a line.

    Args:
        text: without line ends.
        width: columns of a line.
        column: that at which the text begins.
        indent: blanks at the beginning of each further line.
    """
    flowing: list[str] = []
    for word in _WORD.findall(text):
        # At the beginning of a line nothing would be gained.
        if column + len(word) > width and (flowing or column > indent):
            flowing.append("\n" + " " * indent + word.lstrip())
            column = indent + len(word.lstrip())
        else:
            flowing.append(word)
            column += len(word)
    return "".join(flowing)


def column_after(text: str, column: int) -> int:
    """Return the column at which a text ends that began at `column`."""
    before, end, last = text.rpartition("\n")
    return len(last) if end else column + len(before + last)


def wrap(line: str, width: int) -> list[str]:
    """Return the lines of a line, the further ones indented by two blanks more.

    Marks below the code of a traceback that are wider than the line have none: they would stand
    below something else.
    """
    if len(line) <= width:
        return [line]
    if _MARKS.fullmatch(line):
        return []
    return flow(line, width, 0, len(line) - len(line.lstrip()) + 2).split("\n")
