"""Functions for --docket-factory: good ones, and each way to be none."""

import os
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from docket import Docket


class FolderStorage:
    """A storage of results in the folder that STORED_RESULTS names."""

    def __init__(self) -> None:
        self._folder = Path(os.environ["STORED_RESULTS"])

    async def put(self, key: str, value: dict[str, str], *, ttl: float | None = None) -> None:
        (self._folder / key.encode().hex()).write_text(repr(dict(value)))

    async def get(self, key: str) -> dict[str, str] | None:
        return None


def msgpack(name: str, url: str) -> Docket:
    return Docket(name, url, serializer="msgpack", execution_ttl=timedelta(days=1))


def stored(name: str, url: str) -> Docket:
    return Docket(name, url, result_storage=FolderStorage())


def no_docket(name: str, url: str) -> str:
    return f"{name} {url}"


async def awaited(name: str, url: str) -> Docket:
    return Docket(name, url)


def other_name(name: str, url: str) -> Docket:
    return Docket("other", url)


def other_url(name: str, url: str) -> Docket:
    return Docket(name, "redis://:s3cret@elsewhere")


def without_arguments() -> Docket:
    return Docket()


def broken(name: str, url: str) -> Docket:
    raise LookupError("no such secret in the vault")


def leaving(name: str, url: str) -> Docket:
    raise SystemExit("no settings")


def telling(name: str, url: str) -> Docket:
    raise LookupError(f"nothing at {url}")


def telling_in_the_end(name: str, url: str) -> Docket:
    raise SystemExit(f"nothing at {url}")


def telling_its_cause(name: str, url: str) -> Docket:
    try:
        return telling(name, url)
    except LookupError as error:
        raise LookupError("no docket") from error


def telling_its_password(name: str, url: str) -> Docket:
    raise LookupError(f"wrong: {unquote(urlsplit(url).password or '')}")


no_function = 5
