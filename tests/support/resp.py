"""As much of Redis's wire protocol (RESP2) as a proxy needs: where one value ends."""

_CRLF = b"\r\n"


def end_of_value(data: bytes, start: int = 0) -> int | None:
    """The index after the value that begins at `start`, or None if it is not whole yet."""
    line_end = data.find(_CRLF, start)
    if line_end < 0:
        return None
    kind, after = data[start : start + 1], line_end + 2
    if kind in b"+-:":
        return after
    length = int(data[start + 1 : line_end])
    if kind == b"$":
        end = after if length < 0 else after + length + 2
        return end if end <= len(data) else None
    assert kind == b"*", f"not a value of RESP2: {data[start : start + 20]!r}"
    position: int | None = after
    for _ in range(length):
        assert position is not None
        position = end_of_value(data, position)
        if position is None:
            return None
    return position


def words_of(command: bytes) -> list[bytes]:
    """The words of a command, an array of bulk strings."""
    words: list[bytes] = []
    position = command.index(_CRLF) + 2
    while position < len(command):
        line_end = command.index(_CRLF, position)
        length = int(command[position + 1 : line_end])
        words.append(command[line_end + 2 : line_end + 2 + length])
        position = line_end + 2 + length + 2
    return words
