"""Carries out what can be done to servers under sentinels."""

from stress.chaos.hosts import Host
from stress.chaos.plan import Kind
from stress.chaos.record import Breaks, Broken
from stress.chaos.sentinels import Sentinels


def failing_over(servers: Sentinels) -> dict[Kind, Breaks]:
    """Each kind, and what does it; one at a time."""

    async def fail_over(_broken: Broken, _host: Host) -> None:
        async with servers.busy:
            await servers.fail_over()

    async def kill_primary(broken: Broken, _host: Host) -> None:
        async with servers.busy:
            await servers.kill_primary(broken.fault.lasts)

    async def stop_primary(broken: Broken, _host: Host) -> None:
        async with servers.busy:
            await servers.stop_primary(broken.fault.lasts)

    async def kill_replica(broken: Broken, _host: Host) -> None:
        async with servers.busy:
            await servers.kill_replica(broken.fault.lasts, broken.fault.draw)

    return {
        Kind.FAILOVER: fail_over,
        Kind.PRIMARY_KILL: kill_primary,
        Kind.PRIMARY_STOP: stop_primary,
        Kind.REPLICA_KILL: kill_replica,
    }
