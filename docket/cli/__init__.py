"""The program `docket`: one command a file, gathered in `docket.cli.program`."""

from docket.cli.program import main

__all__ = ["main"]
