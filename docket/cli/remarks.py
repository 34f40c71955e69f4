"""The options for a reason and its author, which are kept with a pause or a strike."""

import getpass
import os
import socket

from docket.cli.options import Command, option


def remark_options(command: Command) -> Command:
    """Add `--reason` and `--by`; the command gets them as `reason` and `by`."""
    reason = option("--reason", metavar="TEXT", default=None, help="Why, for those who look later.")
    by = option(
        "--by",
        metavar="NAME",
        default=_operator,
        show_default="USER@HOST",
        help="Who does it.",
    )
    return reason(by(command))


def _operator() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
