"""What PyPI's `supervisor` (supervisord) puts into the top-level package whose name we share."""

SUPERVISORD_NAMES = frozenset(
    "childutils compat confecho datatypes dispatchers events http http_client loggers medusa "
    "options pidproxy poller process rpcinterface scripts skel socket_manager states "
    "supervisorctl supervisord templating tests ui version web xmlrpc".split()
)
