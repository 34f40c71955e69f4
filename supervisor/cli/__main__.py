"""`python -m supervisor.cli` is the program `docket-supervisor`."""

from supervisor.cli.program import main

main()
