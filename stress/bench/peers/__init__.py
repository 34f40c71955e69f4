"""Head to head with other task queues: the same work, on the same server, in turns.

Each peer has an environment of its own and an adapter (`adapters/`): a script that adds tasks and
runs workers by that peer's own interface. Adapters leave traces of what ran (traces.py), from which
every figure is taken in the same way (measurements.py).
"""
