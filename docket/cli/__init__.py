"""The program `docket`: one file for each command, gathered in `docket.cli.program`."""

from docket.cli.program import main

__all__ = ["main"]
