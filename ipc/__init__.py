"""Messages and framing between the processes of a pool, and between a pool and its operator.

Nothing is imported here: a client of the control socket needs only `ipc.control` and `ipc.framing`,
and should not load the event loop that `ipc.channel` needs.
"""
