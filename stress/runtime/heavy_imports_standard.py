"""A stand-in for `heavy_imports` without SQLAlchemy: big modules of the standard library."""

import importlib

IMPORTED = [
    importlib.import_module(name)
    for name in (
        *("ctypes", "decimal", "doctest", "email.mime.multipart", "http.client", "http.server"),
        *("pickletools", "pydoc", "sqlite3", "tarfile", "unittest.mock", "xml.dom.minidom"),
        *("xml.sax.expatreader", "xmlrpc.server"),
    )
]

nothing: list[object] = []
