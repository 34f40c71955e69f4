"""Loading of the user code that an option names, with one-line errors."""

import importlib
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import click

from docket.store.embedded.schemes import is_embedded
from docket_display.printable import on_one_line

T = TypeVar("T")


#: The modules that docket imports when it first needs them.
_LATER = ("cloudpickle", "zoneinfo")
#: The same, with an embedded server, and where ports are served.
_FOR_EMBEDDED = ("docket.store.embedded.embedded_server",)
_FOR_PORTS = ("docket.instrumentation.collector", "docket.instrumentation.http_server")


def trust_working_directory(url: str, *, has_ports: bool = False) -> None:
    """Look for modules in the working directory first, as users expect of `module:attribute`.

    Called after all our own imports, and does those that would follow later, so that no file there
    can shadow one of our modules or of the standard library.

    Args:
        url: that of the docket.
        has_ports: this process serves metrics or health checks.

    Raises:
        click.UsageError: it is gone.
    """
    embedded = _FOR_EMBEDDED if is_embedded(url) else ()
    for name in (*_LATER, *embedded, *(_FOR_PORTS if has_ports else ())):
        # What a system does not have is missed, and told of, when it is asked for.
        with suppress(ImportError):
            importlib.import_module(name)
    try:
        directory = Path.cwd()
    except OSError as error:
        reason = f"the working directory cannot be used ({error.strerror}): start in another one"
        raise click.UsageError(reason) from error
    sys.path.insert(0, str(directory))


def load(option: str, path: str, loader: Callable[[str], T]) -> T:
    """Load the path that an option gives.

    Raises:
        click.BadParameter: it does not load; user code may raise anything.
    """
    try:
        return loader(path)
    except Exception as error:
        raise click.BadParameter(
            f"{path!r}: {on_one_line(_in_one_line(error))}", param_hint=option
        ) from error


def _in_one_line(error: Exception) -> str:
    reason = traceback.format_exception_only(error)[-1].strip()
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and not _is_ours(frame.filename)
    ]
    if not frames:
        return reason
    return f"{reason} ({frames[-1].filename}, line {frames[-1].lineno})"


def _is_ours(filename: str) -> bool:
    ours = Path(__file__).resolve().parent.parent
    return Path(filename).resolve().is_relative_to(ours) or filename == importlib.__file__
