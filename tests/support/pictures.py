"""The picture of the demo in docs/assets, taken from a run: `python -m tests.support.pictures`.

It is the terminal as it stands when the killed worker's files have been started again. PATH as the
argument has the demo parse another folder than the standard library.
"""

import io
import os
import pty
import re
import subprocess
import sys

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.support.documents import ROOT

PICTURE = ROOT / "docs/assets/demo.svg"
COMMAND = "docket-supervisor demo"
#: Written once the first redelivered task runs.
MOMENT = "started again"

_COLUMNS = 84
_REDRAWN = re.compile(r"\r\x1b\[2K")
_CURSOR = re.compile(r"\x1b\[\?25[lh]")
# Black, red, green, yellow, blue, magenta, cyan, white; then the bright ones.
_NORMAL = "#454856 #f36b6b #7ed38b #ecc469 #7aa2f7 #bb9af7 #73c8d6 #c8ccd6"
_BRIGHT = "#696e80 #ff8080 #96e6a0 #fad682 #96b9ff #cdafff #8cdce8 #f0f2f8"


def _colours(written: str) -> list[tuple[int, int, int]]:
    return [tuple(bytes.fromhex(each[1:])) for each in written.split()]


_THEME = TerminalTheme((24, 26, 34), (214, 218, 228), _colours(_NORMAL), _colours(_BRIGHT))
# Nothing is loaded from elsewhere: rich's own format asks a CDN for its font.
_FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" role="img"
    xmlns="http://www.w3.org/2000/svg">
  <title>docket-supervisor demo: a worker is killed, its tasks run again</title>
  <style>
    .{unique_id}-matrix {{
      font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
      font-size: {char_height}px; line-height: {line_height}px;
    }}
    {styles}
  </style>
  <defs>{lines}</defs>
  <rect width="{width}" height="{height}" rx="8" fill="#181a22"/>
  <g fill="#454856">
    <circle cx="20" cy="22" r="6"/><circle cx="40" cy="22" r="6"/><circle cx="60" cy="22" r="6"/>
  </g>
  <g transform="translate({terminal_x}, {terminal_y})" clip-path="none">
    {backgrounds}
    <g class="{unique_id}-matrix">{matrix}</g>
  </g>
</svg>
"""


def screen_at_the_kill(written: str) -> list[str]:
    """Return the lines of the terminal, with their colours, up to the bar below `MOMENT`."""
    lines = [_REDRAWN.split(line.rstrip("\r"))[-1] for line in written.split("\n")]
    last = next(number for number, line in enumerate(lines) if MOMENT in line)
    frames = _REDRAWN.split(written.partition(MOMENT)[2])
    # The first that is a bar alone: others have a line above it, which came meanwhile.
    bar = next(frame for frame in frames[1:] if frame.strip() and "\n" not in frame)
    return [_CURSOR.sub("", line) for line in (*lines[: last + 1], bar) if line.strip()]


def draw(lines: list[str], *arguments: str) -> str:
    """Return the SVG of a terminal with these lines below the command."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {' '.join((COMMAND, *arguments))}", style="bold"))
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=True)
    return console.export_svg(title="", theme=_THEME, code_format=_FORMAT, unique_id="demo")


def run_demo(*arguments: str) -> str:
    """Run the demo on a terminal of its own, and return what it wrote there."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(_COLUMNS)}
    command = [sys.executable, "-m", "supervisor.cli", *COMMAND.split()[1:], *arguments]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=slave) as process:
        os.close(slave)
        written = b""
        try:
            while chunk := os.read(master, 65536):
                written += chunk
        except OSError:
            pass  # The last program that had the terminal has ended.
        os.close(master)
    assert process.returncode == 0, written.decode()
    return written.decode()


if __name__ == "__main__":
    given = sys.argv[1:]
    PICTURE.write_text(draw(screen_at_the_kill(run_demo(*given)), *given), "utf-8")
