"""Between the processes of a pool, and between a pool and its operator: messages and framing.

Nothing is imported here: who only speaks to a control socket (`ipc.control`, `ipc.framing`) is not
to load the event loop that `ipc.channel` needs.
"""
