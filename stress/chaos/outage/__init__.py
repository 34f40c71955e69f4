"""An outage of the server in the middle of a pool's load, and the return from it.

    python -m stress away --seconds 60

The real program with eight workers is at full load when its server is killed, stopped, or cannot
be connected to. No process may die or restart meanwhile, no task may run twice, and two seconds
after the server's return all workers are at work again.
"""
