"""What the documents say works: their Python runs, their commands and options exist."""

import configparser
import importlib
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest

from tests.support import pool
from tests.support.documents import ROOT, Block, blocks, commands, pages
from tests.support.warm_python import WarmPython, warm_python

ALL_PYTHON = [block for page in pages() for block in blocks(page, "python")]
PYTHON = [block for block in ALL_PYTHON if not block.source]
EXCERPTS = [block for block in ALL_PYTHON if block.source]
#: Pages whose programs with names are steps that need those before them: each has its own test.
STEPPED = {"README.md", "getting-started.md"}
SHELL = [
    (block, command)
    for page in pages()
    for block in blocks(page, "sh")
    for command in commands(block)
]
#: A user has the packages installed; here they come from the tree under test.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

#: Blocks of these languages are shown, not run.
#: Code of other libraries is `py`.
SHOWN = {"text", "toml", "py"}

#: Where the README's example keeps its data.
README_FOLDER = "/tmp/greetings"


def _is_a_step(block: Block) -> bool:
    return block.page.name in STEPPED and block.text.startswith(f"# {block.filename}\n")


@pytest.fixture(scope="module")
def python() -> Iterator[WarmPython]:
    with warm_python("-W", "error", environment=ENVIRONMENT) as started:
        yield started


def _run_block(python: WarmPython, block: Block, folder: Path, text: str) -> str:
    (folder / block.filename).write_text(text, "utf-8")
    code, output, errors = python.run(block.filename, folder)
    assert code == 0, f"{block}: {output}{errors}"
    # Where no logging is configured, errors are shown: a failed attempt is one.
    assert not errors or errors.startswith("↩ ["), f"{block}: {errors}"
    return output


@pytest.mark.parametrize("block", [block for block in PYTHON if not _is_a_step(block)], ids=str)
def test_a_python_block_of_a_document_runs(
    python: WarmPython, block: Block, tmp_path: Path
) -> None:
    _run_block(python, block, tmp_path, block.padded)


@pytest.mark.parametrize("block", EXCERPTS, ids=str)
def test_an_excerpt_of_an_example_stands_in_its_file(block: Block) -> None:
    excerpt = block.text.partition("\n")[2].strip("\n")
    assert excerpt
    assert f"\n{excerpt}\n" in f"\n{_text(block.source)}"


def test_the_service_of_the_readme_runs_on_the_pool_of_the_readme(
    python: WarmPython, tmp_path: Path
) -> None:
    readme = ROOT / "README.md"
    (service,) = blocks(readme, "python")
    (start,) = [
        words
        for block in blocks(readme, "sh")
        for words in commands(block)
        if words[0] == "docket-supervisor" and "--tasks" in words
    ]
    (tmp_path / "data").mkdir()
    here = str(tmp_path / "data")
    text = service.text.replace(README_FOLDER, here)
    (tmp_path / service.filename).write_text(text, "utf-8")

    options = [word.replace(README_FOLDER, here) for word in start[1:]]
    with pool.ready_pool([*pool.PROGRAM, *options], tmp_path, ENVIRONMENT):
        printed = _run_block(python, service, tmp_path, text)

    assert printed == "Hello, world! Hello, again!\n"
    assert f"`{printed.strip()}`" in readme.read_text("utf-8")


@pytest.mark.parametrize(("block", "command"), SHELL, ids=lambda value: str(value)[:60])
def test_a_command_of_a_document_is_one_that_exists(block: Block, command: list[str]) -> None:
    match command:
        case ["docket-supervisor", *words]:
            _parses("supervisor.cli.commands", "docket_supervisor", words)
        case ["docket", *words]:
            _parses("docket.cli.program", "main", words)
        case ["python", "-m", "stress.bench", *words]:
            _parses("stress.bench.cli", "bench", words)
        case ["python", "-m", "stress", "runtime", *words]:
            _parses("stress.runtime.cli", "runtime", words)
        case ["python", "-m", "stress", "soak", *words]:
            _parses("stress.soak.cli", "soak", words)
        case ["python", "-m", "stress", "scale", *words]:
            _parses("stress.scale.cli", "scale", words)
        case ["python", "-m", "pip", "install", *words]:
            assert _extras_of(words) <= _project()["optional-dependencies"].keys()
        case ["tox", *words]:
            assert _environments_of(words) <= _tox_environments()
        case ["python", "-m", "venv", _] | [".", _]:
            pass
        case ["python", "-m", "pip", "uninstall", *_]:
            pass
        case ["python", "-m", "pip", "wheel", *_, project]:
            assert ROOT.joinpath(project, "pyproject.toml").is_file()
        case ["git" | "grep" | "xargs" | "wc", *_]:
            pass  # Any machine's own.
        case [program, str(script)] if program == "python" and script.endswith(".py"):
            assert script in {each.filename for each in PYTHON}
        case _:
            pytest.fail(f"{block}: nothing is known of {shlex.join(command)}")


def test_an_option_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(click.NoSuchOption):
        _parses("supervisor.cli.commands", "docket_supervisor", ["--proceses", "2"])
    with pytest.raises(click.UsageError):
        _parses("stress.bench.cli", "bench", ["drian"])


def test_the_readme_starts_with_the_demo_and_then_the_tests_each_in_one_line() -> None:
    first, second = [block.text.strip() for block in blocks(ROOT / "README.md", "sh")][:2]
    assert first == "python -m pip install . && docket-supervisor demo"
    assert second == "python -m pip install tox && tox"
    assert (ROOT / ".ci/run").read_text("utf-8").endswith(f"\n{second}\ntox -m full\n")


def test_the_options_of_the_runtime_are_those_of_its_document() -> None:
    rows = re.findall(r"^\| `--([a-z-]+)` \|", _text("docs/operations/running.md"), re.MULTILINE)
    command = _command("supervisor.cli.commands", "docket_supervisor", "run")
    real = [
        parameter.opts[0].removeprefix("--")
        for parameter in command.params
        if isinstance(parameter, click.Option)
    ]
    assert sorted(rows) == sorted(set(real) - {"config", "help", "version"})


def test_the_exit_codes_are_those_of_the_document() -> None:
    rows = re.findall(r"^\| (\d) \| ", _text("docs/operations/signals.md"), re.MULTILINE)
    codes = importlib.import_module("supervisor.exit_codes").ExitCode
    assert [int(row) for row in rows] == sorted(codes)


def test_the_transitions_of_the_document_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| ([a-z]+) \| ([a-z]+) \| ", _text("docs/lifecycle.md"), re.MULTILINE)
    table = importlib.import_module("docket.lifecycle").TRANSITIONS
    real = {(before.value, after.value) for before, afters in table.items() for after in afters}
    assert set(rows) - {("from", "to")} == real


def test_every_answer_to_where_things_are_is_a_file() -> None:
    section = _text("CONTRIBUTING.md").partition("## Where things are")[2].partition("\n## ")[0]
    answers = re.findall(r"\? \| (`.+`) \|", section)
    assert len(answers) >= 12
    paths = [path for answer in answers for path in answer.strip("`").split("`, `")]
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_every_test_that_a_document_names_exists() -> None:
    named = {
        (page.name, path)
        for page in pages()
        for span in re.findall(r"`([^`\n]+)`", page.read_text("utf-8"))
        for path in re.findall(r"\btests/[\w./*-]+", span)
    }
    assert len(named) > 40
    assert [(page, path) for page, path in sorted(named) if not any(ROOT.glob(path))] == []


def test_every_key_of_the_architecture_is_one_of_the_code_and_its_type_is_said_there() -> None:
    rows = re.findall(r"^\| `\{d\}:.*", _text("docs/architecture.md"), re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`\{d\}:([a-z-]+)", row)}
    keys = _text("docket/store/keys.py")
    code = {*re.findall(r'self\.key\(f?"([a-z-]+)', keys), *re.findall(r'"\}:([a-z]+)"', keys)}
    assert documented - code == set()
    assert code <= documented


def test_every_block_is_of_a_language_that_is_checked_or_only_shown() -> None:
    fences = {
        line[3:].strip()
        for page in pages()
        for line in page.read_text("utf-8").splitlines()
        if line.startswith("```") and line != "```"
    }
    assert fences <= {"python", "sh", *SHOWN}


def test_every_link_between_documents_leads_somewhere() -> None:
    dead = [
        f"{page.name}: {target}"
        for page in [*pages(), ROOT / "CHANGELOG.md"]
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert dead == []


def _text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def _command(module: str, name: str, *path: str) -> click.Command:
    command: click.Command = getattr(importlib.import_module(module), name)
    for step in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), step)
        assert found is not None
        command = found
    return command


def _parses(module: str, name: str, words: list[str]) -> None:
    """Have click read the words: it objects to unknown ones."""
    command = _command(module, name)
    if not isinstance(command, click.Group):
        command.make_context(name, list(words))
        return
    # The words of a group's command are read on the way to its help.
    assert command.main([*words, "--help"], prog_name=name, standalone_mode=False) == 0


def _project() -> dict[str, dict[str, object]]:
    return tomllib.loads(_text("pyproject.toml"))["project"]


def _extras_of(words: list[str]) -> set[str]:
    names = re.findall(r"\[([a-z,]+)\]", " ".join(words))
    return {extra for several in names for extra in several.split(",")}


def _environments_of(words: list[str]) -> set[str]:
    """Environments and labels that a command names."""
    values = [value for option, value in pairwise(words) if option in {"-e", "-m"}]
    return {name for value in values for name in value.split(",")}


def _tox_environments() -> set[str]:
    """Environments and labels that there are, each label with nothing but environments."""
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read_string(_text("tox.ini"))
    environments = {
        name
        for section in parsed.sections()
        if section.startswith("testenv:")
        for name in section.removeprefix("testenv:").split(",")
    }
    labels = dict(
        line.split(" = ") for line in parsed["tox"]["labels"].splitlines() if line.strip()
    )
    for listed in (parsed["tox"]["env_list"], *labels.values()):
        assert set(listed.split(", ")) <= environments
    return environments | labels.keys()
