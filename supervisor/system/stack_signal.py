"""The signal that makes a nursery or a worker write its stacks."""

import signal


def stack_signal() -> int:
    """A real-time signal that no library uses; SIGUSR2 where there is none (macOS)."""
    realtime = getattr(signal, "SIGRTMIN", None)
    return signal.SIGUSR2 if realtime is None else realtime + 7
