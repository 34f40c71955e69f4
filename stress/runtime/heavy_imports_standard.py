"""A stand-in for `heavy_imports` without SQLAlchemy: big modules of the standard library."""

import ctypes
import decimal
import doctest
import email.mime.multipart
import http.client
import http.server
import pickletools
import pydoc
import sqlite3
import tarfile
import unittest.mock
import xml.dom.minidom
import xml.sax.expatreader
import xmlrpc.server

#: The imports, so that they are used.
IMPORTED = (
    ctypes,
    decimal,
    doctest,
    email.mime.multipart,
    http.client,
    http.server,
    pickletools,
    pydoc,
    sqlite3,
    tarfile,
    unittest.mock,
    xml.dom.minidom,
    xml.sax.expatreader,
    xmlrpc.server,
)

nothing: list[object] = []
