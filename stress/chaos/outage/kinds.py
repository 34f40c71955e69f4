"""The kinds of outages."""

from enum import StrEnum

from stress.chaos.plan import Kind


class OutageKind(StrEnum):
    """A way for the server to be away. Its data is there again when it is back."""

    KILL = "kill"
    """kill -9, and started again on what it had written."""
    STOP = "stop"
    """SIGSTOP: every connection stays, and is silent."""
    REFUSE = "refuse"
    """A network that refuses connections, the old ones cut."""

    @property
    def fault(self) -> Kind:
        """The fault that makes it."""
        return {
            OutageKind.KILL: Kind.SERVER_KILL,
            OutageKind.STOP: Kind.SERVER_STOP,
            OutageKind.REFUSE: Kind.NET_REFUSE,
        }[self]

    @property
    def least_seconds(self) -> float:
        """The shortest outage that the pool surely notices."""
        return 13.0 if self is OutageKind.STOP else 2.0
