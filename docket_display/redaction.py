"""The display of a URL without its secrets, for logs, errors and answers."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
#: A host and its port, as they may be shown of a URL that is malformed.
_SHOWN_HOST = re.compile(r"(?:\[[^\]]*\]|[^\[\]:]*)(?::[0-9]*)?")
_SHOWN_DATABASE = re.compile(r"(?:/[0-9]*)?")
# Compiled here, not on the way: a nursery does it for its workers.
_END_OF_AUTHORITY = re.compile(r"[/?#]")
_END_OF_PATH = re.compile(r"[?#]")


def without_password(url: str) -> str:
    """Return the URL without secrets: `user:***@host`, and no query, which may hold secrets too.

    Works for malformed URLs, of which nothing is shown that may be part of a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        return "***"
    authority = _END_OF_AUTHORITY.split(rest, maxsplit=1)[0]
    beyond = rest[len(authority) :]
    if authority and "@" in beyond:
        # The password may contain an unescaped / ? or #, so its end is unknown.
        return f"{scheme}://***"
    path = _END_OF_PATH.split(beyond, maxsplit=1)[0]
    credentials, at, hosts = authority.rpartition("@")
    if not all(_SHOWN_HOST.fullmatch(host) for host in hosts.split(",")):
        # Not a port: it may be a password whose @host was forgotten, and a / may be in it.
        hosts = "***"
        path = path if _SHOWN_DATABASE.fullmatch(path) else ""
    user, colon, _ = credentials.partition(":")
    # Without a colon it is a user's name to the client, and may be a token to its author.
    hidden = f"{user}:***" if colon else "***" if at else ""
    return f"{scheme}://{hidden}{at}{hosts}{path}"


def without_secrets_of(url: str, text: str) -> str:
    """Return a text of others without the secrets of a URL that they were given."""
    text = text.replace(url, without_password(url))
    for secret in sorted(set(_secrets(url)), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _secrets(url: str) -> Iterator[str]:
    """Yield the password, as it is written and as it is meant, and the query with its passwords."""
    rest = url.partition("://")[2]
    before, _, query = rest.partition("?")
    credentials = before.rpartition("@")[0]
    user, colon, password = credentials.partition(":")
    found = [password if colon else user, query]
    for option in query.split("&"):
        name, _, value = option.partition("=")
        if "pass" in unquote(name).lower():
            found.append(value)
    for secret in found:
        yield from filter(None, (secret, unquote(secret)))
