"""Start the embedded server of a run whose URL asks for one.

Imported only then: docket brings the Redis client along, and a supervisor has no use for it.
"""

from docket.errors import DocketError, EmbeddedFolderInUse, ServerProgramMissing
from docket.store.embedded.embedded_server import EmbeddedServer, start
from supervisor.errors import BootFailure, ConfigurationError, FolderInUse
from supervisor.text.utf8 import is_utf8


def start_for(url: str) -> EmbeddedServer:
    """Start the server of `url`; the caller stops it.

    Raises:
        ConfigurationError: the URL, or no program on this machine.
        FolderInUse: another owner has the folder.
        BootFailure: the server does not start.
    """
    try:
        server = start(url)
    except EmbeddedFolderInUse as error:
        raise FolderInUse(f"--url: {error}") from error
    except (ValueError, ServerProgramMissing) as error:
        raise ConfigurationError(f"--url: {error}") from error
    except DocketError as error:
        raise BootFailure(str(error)) from error
    if not is_utf8(server.url):
        server.stop()
        raise ConfigurationError(
            f"--url: the folder of the embedded server, {server.url!r}, is not in UTF-8: set TMPDIR"
        )
    return server
