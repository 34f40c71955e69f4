"""`docket-supervisor demo`."""
