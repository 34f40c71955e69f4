"""Measurements of the supervisor on the real program: its costs, and its recovery from deaths.

Each scenario is a module with one `run(url, settings)` that returns a Report; everything that it
starts has ended when it returns, and every wait in it has an end. The calculations are in
`run_log` and `capacity`, which know no process and no clock.
"""
