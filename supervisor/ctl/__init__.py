"""`docket-supervisor ctl`, the client of the control socket."""
