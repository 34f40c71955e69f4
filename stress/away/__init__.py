"""Takes the server away from a pool in the middle of its load, and measures how it comes back.

    python -m stress away --seconds 60

The real program with eight workers is at full load when its server is killed, stopped, or cannot
be connected to. Nothing may die or restart meanwhile, nothing may run twice, and two seconds after
the server's return all of them are at work again.
"""
