"""The command line of `docket-supervisor`."""
