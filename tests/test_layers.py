"""The source tree keeps its layers, and each rule is seen to object to a tree that breaks it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import layers
from tests.support.layer_table import LAYERS, parse_layers
from tests.support.source_tree import PACKAGES, parse_tree, read_tree

ROOT = Path(__file__).parent.parent
SIZE_RULES = (layers.files_are_short, layers.functions_are_short)
STRESS_RULES = (
    layers.public_classes_have_names_of_their_own,
    layers.docstrings_open_with_a_verb_or_a_noun,
)

GOOD: dict[str, str] = {
    "docket/__init__.py": "from docket.worker import Worker\n",
    "docket/errors.py": "from redis.exceptions import ConnectionError\n",
    "docket/store/keys.py": "",
    "docket/store/connection/connections.py": "import redis\nfrom docket import errors\n",
    "docket/worker.py": (
        "from typing import TYPE_CHECKING\n"
        "from docket.store import connection\n"
        "if TYPE_CHECKING:\n"
        "    from docket.cli import main\n"
    ),
    "docket/cli/__init__.py": "from docket.worker import Worker\n",
    "ipc/framing.py": "import msgspec\n",
    "supervisor/__init__.py": '"""The runtime."""\n',
    "supervisor/worker/main.py": "from docket import Worker\nfrom ipc.framing import encode\n",
}

BAD: list[tuple[layers.Rule, Mapping[str, str], str]] = [
    (
        layers.imports_lead_only_downwards,
        {
            "docket/serialization/pickle_codec.py": "from docket import worker\n",
            "docket/worker.py": "",
        },
        (
            "docket/serialization/pickle_codec.py:1: "
            "docket.serialization.pickle_codec imports docket.worker, which is above it"
        ),
    ),
    (
        layers.imports_lead_only_downwards,
        {"docket/services/heartbeater.py": "import docket\n"},
        (
            "docket/services/heartbeater.py:1: "
            "docket.services.heartbeater imports docket, which is above it"
        ),
    ),
    (
        layers.imports_lead_only_downwards,
        {"docket/store/keys.py": "from .scripts import load\n", "docket/store/scripts.py": ""},
        "docket/store/keys.py:1: docket.store.keys imports docket.store.scripts, which is above it",
    ),
    (
        layers.imports_lead_only_downwards,
        {"docket/novelty.py": ""},
        "docket/novelty.py:1: docket.novelty has no layer: give it one",
    ),
    (
        layers.imports_lead_only_downwards,
        {"ipc/framing.py": "from ipc import channel\n", "ipc/channel.py": ""},
        "ipc/framing.py:1: ipc.framing imports ipc.channel, which is above it",
    ),
    (
        layers.imports_lead_only_downwards,
        {
            "supervisor/pool/pool.py": "from supervisor.processes.driver import ProcessDriver\n",
            "supervisor/processes/driver.py": "",
        },
        (
            "supervisor/pool/pool.py:1: "
            "supervisor.pool.pool imports supervisor.processes.driver, which is above it"
        ),
    ),
    (
        layers.decisions_touch_nothing_outside,
        {"supervisor/pool/state/inbox.py": "import asyncio\n"},
        (
            "supervisor/pool/state/inbox.py:1: "
            "supervisor.pool.state.inbox decides, and imports asyncio"
        ),
    ),
    (
        layers.decisions_touch_nothing_outside,
        {"supervisor/pool/stalls.py": "from time import monotonic\n"},
        "supervisor/pool/stalls.py:1: supervisor.pool.stalls decides, and imports time",
    ),
    (
        layers.decisions_touch_nothing_outside,
        {"supervisor/pool/stalls.py": "import os\n\nos.kill(1, 9)\n"},
        "supervisor/pool/stalls.py:3: supervisor.pool.stalls decides, and uses os.kill",
    ),
    (
        layers.packages_keep_their_directions,
        {"docket/worker.py": "import ipc.framing\n"},
        "docket/worker.py:1: docket imports ipc.framing",
    ),
    (
        layers.packages_keep_their_directions,
        {"ipc/channel.py": "from docket import Worker\n"},
        "ipc/channel.py:1: ipc imports docket",
    ),
    (
        layers.supervisor_uses_only_public_names,
        {"supervisor/cli/program.py": "from docket.services.heartbeater import Heartbeater\n"},
        "supervisor/cli/program.py:1: docket.services.heartbeater is not public to the runtime",
    ),
    (
        layers.only_the_store_speaks_redis,
        {"docket/worker.py": "from redis.asyncio import Redis\n"},
        "docket/worker.py:1: redis is imported outside docket/store",
    ),
    (
        layers.only_the_store_speaks_redis,
        {"docket/errors.py": "from redis.asyncio import Redis\n"},
        "docket/errors.py:1: redis is imported outside docket/store",
    ),
    (
        layers.only_the_store_speaks_redis,
        {"docket/docket.py": "async def add(client):\n    await client.xadd('s', {})\n"},
        "docket/docket.py:2: issues the Redis command xadd",
    ),
    (
        layers.imports_stand_at_the_top,
        {"docket/worker.py": "def run():\n    import json\n"},
        "docket/worker.py:2: imports json inside a function",
    ),
    (
        layers.private_names_stay_at_home,
        {"docket/worker.py": "def stop(docket):\n    docket._closed = docket._open\n"},
        "docket/worker.py:2: reads _open of another",
    ),
    (
        layers.private_names_stay_at_home,
        {"docket/worker.py": "from docket.serialization.pickle_codec import _pack\n"},
        "docket/worker.py:1: imports the private docket.serialization.pickle_codec._pack",
    ),
    (
        layers.files_are_short,
        {"ipc/long.py": "x = 1\n" * 401},
        "ipc/long.py:401: 401 lines of code, more than 400",
    ),
    (
        layers.functions_are_short,
        {"ipc/long.py": "def long():\n" + "    x = 1\n" * 60},
        "ipc/long.py:1: long has 61 lines, more than 60",
    ),
    (
        layers.nested_functions_are_short,
        {"ipc/deep.py": "def outer():\n    def inner():\n" + "        x = 1\n" * 10},
        "ipc/deep.py:2: nested inner has 11 lines: give it its own place",
    ),
    (
        layers.imports_have_no_cycle,
        {
            "ipc/a.py": "from ipc.b import b\n",
            "ipc/b.py": "from ipc import c\n",
            "ipc/c.py": "import ipc.a\n",
        },
        "ipc.a -> ipc.b -> ipc.c -> ipc.a",
    ),
    (
        layers.supervisor_shares_its_folder_with_supervisord,
        {"supervisor/options.py": ""},
        "supervisor/options.py:1: supervisord ships options too",
    ),
    (
        layers.supervisor_shares_its_folder_with_supervisord,
        {"supervisor/__init__.py": '"""The runtime."""\nVERSION = 1\n'},
        "supervisor/__init__.py:1: supervisor/__init__.py is a docstring and nothing else",
    ),
    (
        layers.public_classes_have_names_of_their_own,
        {"ipc/a.py": "class Hello:\n    pass\n", "ipc/b.py": "class Hello:\n    pass\n"},
        "ipc/b.py:1: Hello is also a class of ipc/a.py",
    ),
    (
        layers.docstrings_open_with_a_verb_or_a_noun,
        {"ipc/a.py": 'def is_open():\n    """Whether it is open."""\n'},
        "ipc/a.py:1: the docstring of is_open opens with 'Whether'",
    ),
]


@pytest.mark.parametrize("rule", layers.RULES, ids=lambda rule: rule.__name__)
def test_the_packages_keep_the_rule(rule: layers.Rule) -> None:
    assert rule(read_tree(ROOT)) == []


@pytest.mark.parametrize("rule", SIZE_RULES, ids=lambda rule: rule.__name__)
def test_tests_and_stress_programs_are_short_too(rule: layers.Rule) -> None:
    assert rule(read_tree(ROOT, ("tests", "stress"))) == []


@pytest.mark.parametrize("rule", STRESS_RULES, ids=lambda rule: rule.__name__)
def test_the_names_and_words_of_the_stress_programs_keep_the_rule(rule: layers.Rule) -> None:
    assert rule(read_tree(ROOT, ("stress",))) == []


@pytest.mark.parametrize("rule", layers.RULES, ids=lambda rule: rule.__name__)
def test_a_tree_that_keeps_the_rules_passes_each(rule: layers.Rule) -> None:
    assert rule(parse_tree(GOOD)) == []


@pytest.mark.parametrize(("rule", "files", "objection"), BAD)
def test_a_tree_that_breaks_a_rule_is_objected_to(
    rule: layers.Rule, files: Mapping[str, str], objection: str
) -> None:
    assert objection in rule(parse_tree(files))


def test_no_rule_goes_without_a_tree_that_breaks_it() -> None:
    assert {rule for rule, _, _ in BAD} == set(layers.RULES)


def test_the_tables_of_the_architecture_name_what_is_there() -> None:
    missing = [
        name
        for name in LAYERS.names()
        for path in (ROOT / name.replace(".", "/"),)
        if not path.is_dir() and not path.with_suffix(".py").is_file()
    ]
    assert set(LAYERS.rows) == set(PACKAGES)
    assert missing == []


def test_a_module_stands_in_the_row_of_its_longest_name() -> None:
    table = parse_layers(
        "### `docket`\n\n| 1 | `store/keys` | keys |\n| 2 | `store/`, `worker` | more |\n"
    )
    assert table.row_of("docket.store.keys") == 0
    assert table.row_of("docket.store.scripts") == table.row_of("docket.worker") == 1
    assert table.row_of("docket") == table.row_of("docket.__main__") == 2
    assert table.row_of("docket.novelty") is None


def test_the_rules_see_the_whole_tree() -> None:
    seen = {module.path for module in read_tree(ROOT)}
    there = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert seen == there
    assert all(any(path.startswith(f"{package}/") for path in seen) for package in PACKAGES)
