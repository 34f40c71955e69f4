"""The supervisor's side of process I/O: starting, signalling, reading and reaping."""
