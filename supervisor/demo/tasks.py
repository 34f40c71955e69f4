"""The task of `docket-supervisor demo`, which parses one file.

A module of its own, since every worker imports it: the rest of the demo is not loaded with it.
"""

import ast
import asyncio
import gc
import warnings
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from docket import Retry

#: Nodes counted between two turns of the event loop, half a millisecond: a worker in the middle of
#: large files still claims, renews and adopts in time.
NODES_A_TURN = 250


class Counts(NamedTuple):
    """The contents of one file, or of many together."""

    lines: int = 0
    functions: int = 0
    classes: int = 0
    imports: int = 0


async def parse_file(path: str, retry: Retry = Retry(attempts=2)) -> Counts:
    """Read a file, parse it, and count what it holds.

    Arguments:
        path: of the file.

    Raises:
        OSError: it cannot be read.
        SyntaxError, ValueError, RecursionError, MemoryError: it does not parse.
    """
    source, tree = read_and_parse(Path(path))
    await asyncio.sleep(0)
    return await count(source, tree)


def read_and_parse(path: Path) -> tuple[bytes, ast.Module]:
    """Read and parse a file: milliseconds, too short to be worth a thread."""
    source = path.read_bytes()
    with warnings.catch_warnings(), _collector_paused():
        warnings.simplefilter("ignore")  # about code that is not the user's concern here
        return source, ast.parse(source, path)


@contextmanager
def _collector_paused() -> Generator[None]:
    """Pause the garbage collector while a tree grows.

    A tree has no cycles. Searching all of its nodes for some, again and again, would take as long
    as all the parsing, and block the loop for a quarter of a second at a time.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def count(source: bytes, tree: ast.AST) -> Counts:
    """Walk the tree, and give the loop a turn every NODES_A_TURN nodes."""
    kinds: Counter[type[ast.AST]] = Counter()
    nodes = ast.walk(tree)
    while some := list(islice(nodes, NODES_A_TURN)):
        kinds.update(map(type, some))
        await asyncio.sleep(0)
    return Counts(
        lines=len(source.splitlines()),
        functions=kinds[ast.FunctionDef] + kinds[ast.AsyncFunctionDef],
        classes=kinds[ast.ClassDef],
        imports=kinds[ast.Import] + kinds[ast.ImportFrom],
    )


tasks = [parse_file]
