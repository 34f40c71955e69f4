import asyncio
import gc
import warnings
from pathlib import Path

import pytest

from docket import Docket, Retry
from supervisor.demo import tasks
from supervisor.demo.tasks import Counts, parse_file

pytestmark = pytest.mark.anyio

SOURCE = '''"""A module."""
import os
from sys import path

class A:
    async def b(self): pass

def c():
    import json
    return lambda: 0
'''


def written(folder: Path, source: bytes) -> str:
    (folder / "a.py").write_bytes(source)
    return str(folder / "a.py")


async def test_a_file_is_parsed_and_counted(tmp_path: Path) -> None:
    counts = await parse_file(written(tmp_path, SOURCE.encode()))
    assert counts == Counts(lines=10, functions=2, classes=1, imports=3)


@pytest.mark.parametrize(("source", "lines"), [(b"", 0), (b"pass", 1), (b"a = 1\r\nb = 2\n", 2)])
async def test_lines_are_counted_as_an_editor_does(
    tmp_path: Path, source: bytes, lines: int
) -> None:
    assert (await parse_file(written(tmp_path, source))).lines == lines


async def test_a_file_that_declares_its_encoding_is_read_in_it(tmp_path: Path) -> None:
    source = "# coding: latin-1\nname = 'é'\n".encode("latin-1")
    assert (await parse_file(written(tmp_path, source))).lines == 2


@pytest.mark.parametrize(
    "source", [b"print 'no'\n", b"# coding: uft-8\n", b"\xff\n", b"a = '\0'\n"]
)
async def test_a_file_that_does_not_parse_fails_with_its_error(
    tmp_path: Path, source: bytes
) -> None:
    with pytest.raises((SyntaxError, ValueError)):
        await parse_file(written(tmp_path, source))
    assert gc.isenabled()


async def test_a_file_that_cannot_be_read_fails_with_its_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await parse_file(str(tmp_path / "gone.py"))


async def test_warnings_about_parsed_code_are_not_passed_on(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await parse_file(written(tmp_path, rb"a = '\d' is 1" + b"\n"))
    assert caught == []


async def test_other_tasks_get_their_turn_while_a_large_file_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "NODES_A_TURN", 10)
    parsing = asyncio.create_task(parse_file(written(tmp_path, b"a = b\n" * 100)))
    turns = 0
    while not parsing.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 40
    assert (await parsing).lines == 100


async def test_a_collector_that_was_off_stays_off(tmp_path: Path) -> None:
    gc.disable()
    try:
        await parse_file(written(tmp_path, b"pass\n"))
        assert not gc.isenabled()
    finally:
        gc.enable()


async def test_the_workers_find_one_task_that_is_tried_twice() -> None:
    docket = Docket("d", "memory://")
    known = dict(docket.tasks)
    docket.register_collection("supervisor.demo.tasks:tasks")
    assert docket.tasks == {**known, "parse_file": parse_file}
    assert isinstance(retry := parse_file.__defaults__[0], Retry)
    assert retry.attempts == 2
