"""Measurements of size: the cost of a task among a million others, and of those to the server.

Each scenario fills an embedded server of its own, which is emptied between its parts, and compares
the cost of a task (CPU of this process, which is worker and producer, and of the server) at a
thousand and at the full size. The longest call that the server made is looked up in its SLOWLOG.
"""
