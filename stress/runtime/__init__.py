"""What the runtime costs and how fast it mends itself, measured on the real program.

Each scenario is a module with one `run(url, settings)` that returns a Report; all that it starts
has ended when it returns, and every wait in it has an end. What decides is written in `report`,
`ledger` and `capacity`, which know no process and no clock.
"""
