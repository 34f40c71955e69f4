"""The name and version with which redis-py's connections introduce themselves to a server."""

from collections.abc import Mapping
from typing import Any, Final

import redis

try:
    from redis.driver_info import DriverInfo
except ImportError:  # an older redis-py, which looks its version up once
    DriverInfo = None

#: A later redis-py looks its version up for each connection, through the metadata of what is
#: installed: milliseconds each time, and megabytes that a forked worker no longer shares.
_ITS_OWN: Final[Mapping[str, Any]] = (
    {} if DriverInfo is None else {"driver_info": DriverInfo(lib_version=redis.__version__)}
)
#: Options by which a URL says something else.
_SAID_OTHERWISE: Final = frozenset({"driver_info", "lib_name", "lib_version"})


def introduced(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a connection with the introduction that redis-py would look up."""
    if _SAID_OTHERWISE.isdisjoint(options):
        return {**_ITS_OWN, **options}
    return dict(options)
