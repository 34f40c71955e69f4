"""The layers of the source tree as rules: each takes the parsed modules and returns what breaks it.

The directions are read from the tables of docs/architecture.md. A rule is a pure function of
sources, so that it can be shown a bad tree and be seen to object (tests/test_layers.py does that
for every rule).
"""

import ast
import re
import signal
from collections.abc import Callable, Mapping, Sequence

from tests.support.layer_table import LAYERS
from tests.support.source_tree import (
    Function,
    Module,
    resolve,
    runtime_imports,
)
from tests.support.supervisord import SUPERVISORD_NAMES

#: What of docket the runtime may import: public names of these, nothing below them.
DOCKET_FOR_SUPERVISOR = frozenset(
    {
        "docket",
        "docket.cli.web",
        "docket.cli.web_options",
        "docket.docket",
        "docket.errors",
        "docket.instrumentation",
        "docket.options",
        "docket.pool_control",
        "docket.prefork",
        "docket.store.embedded.embedded_server",
        "docket.stacks",
        "docket.supervision",
        "docket.worker",
    }
)

#: Packages of extras, imported where they are needed: without the extra everything else works.
EXTRAS = frozenset({"opentelemetry"})

#: Where redis-py may be imported outside docket/store: its error classes, which ours inherit from.
REDIS_ERRORS_FOR = frozenset({"docket.errors"})

#: Underscored names of the standard library that its documentation tells everyone to use (those of
#: named tuples, and asyncio's for those who extend it), `atexit._clear`, the only way for a fork to
#: drop its parent's handlers, and `_thread._count`, the only one to know of threads without frames.
PRIVATE_BY_NAME_ONLY = frozenset(
    "_asdict _clear _count _current_frames _exit _fields _getframe _make _replace "
    "_unregister_task".split()
)
#: Underscored modules that the standard library documents.
PRIVATE_BY_NAME_ONLY_MODULES = frozenset({"_thread"})

#: The module whose business the private names of a library are, each with the library: it is built
#: on their classes, and the version is held.
BUILT_ON = {"docket.injection": "uncalled_for"}

#: Client methods that can be nothing else than a Redis command.
REDIS_COMMANDS = frozenset(
    "blpop brpop lpush rpush lrange hset hget hgetall hmget hdel hincrby hexists zadd zrem zrange "
    "zrangebyscore zscore zcard xadd xack xdel xlen xrange xrevrange xread xreadgroup xpending "
    "xpending_range xclaim xautoclaim xgroup_create xgroup_delconsumer xinfo_groups "
    "xinfo_consumers xtrim evalsha fcall script_load execute_command register_script setex psetex "
    "pexpire sadd srem smembers sismember psubscribe".split()
)


#: The package whose `__init__` imports nothing, so that importing it is importing nothing.
DOCSTRING_ONLY = "supervisor"

#: Where decisions are made: time comes in with the events, and effects go out as calls of
#: `ProcessControl`.
DECISIONS = "supervisor.pool"

#: Modules that act outside of the process, wait, or read a clock.
OUTSIDE = frozenset(
    "anyio asyncio ctypes fcntl multiprocessing psutil select selectors socket subprocess "
    "threading time uvloop".split()
)
OUTSIDE_NAMES = frozenset({("datetime", "datetime")})

#: What a decision may use of modules that can do more: the meaning of numbers.
DECIDING_MAY_USE = {
    "os": frozenset({"waitstatus_to_exitcode"}),
    "signal": frozenset({"Signals", *(name for name in dir(signal) if name.startswith("SIG"))}),
}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_NESTED_FUNCTION_LINES = 10

Rule = Callable[[Sequence[Module]], list[str]]


def _inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def imports_lead_only_downwards(modules: Sequence[Module]) -> list[str]:
    known = frozenset(module.name for module in modules)
    broken: list[str] = []
    for module in modules:
        package = module.name.split(".")[0]
        own = LAYERS.row_of(module.name)
        if own is None:
            broken.append(module.at(1, f"{module.name} has no layer: give it one"))
            continue
        for imported in runtime_imports(module):
            target = resolve(imported, known)
            if target == DOCSTRING_ONLY or not _inside(target, package):
                continue
            row = LAYERS.row_of(target)
            if row is not None and row > own:
                broken.append(
                    module.at(imported.node, f"{module.name} imports {target}, which is above it")
                )
    return broken


def decisions_touch_nothing_outside(modules: Sequence[Module]) -> list[str]:
    """Keep supervisor/pool pure: no process, socket, thread, loop or clock, and no I/O of ours."""
    broken: list[str] = []
    for module in modules:
        if not _inside(module.name, DECISIONS):
            continue
        broken += [
            module.at(imported.node, f"{module.name} decides, and imports {imported.target}")
            for imported in runtime_imports(module)
            if imported.target.split(".")[0] in OUTSIDE
            or (imported.target, imported.name) in OUTSIDE_NAMES
        ]
        broken += [
            module.at(node, f"{module.name} decides, and uses {node.value.id}.{node.attr}")
            for node, _ in module.runtime_nodes
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.attr not in DECIDING_MAY_USE.get(node.value.id, {node.attr})
        ]
    return broken


def packages_keep_their_directions(modules: Sequence[Module]) -> list[str]:
    forbidden = {
        "docket": ("ipc", "supervisor"),
        "docket_display": ("docket", "ipc", "supervisor"),
        "ipc": ("docket", "docket_display", "supervisor"),
    }
    return [
        module.at(imported.node, f"{package} imports {imported.target}")
        for module in modules
        for package in (module.name.split(".")[0],)
        for imported in runtime_imports(module)
        if any(_inside(imported.target, other) for other in forbidden.get(package, ()))
    ]


def supervisor_uses_only_public_names(modules: Sequence[Module]) -> list[str]:
    known = frozenset(module.name for module in modules)
    broken: list[str] = []
    for module in modules:
        if not _inside(module.name, "supervisor"):
            continue
        for imported in runtime_imports(module):
            target = resolve(imported, known)
            if _inside(target, "docket") and target not in DOCKET_FOR_SUPERVISOR:
                broken.append(module.at(imported.node, f"{target} is not public to the runtime"))
    return broken


def only_the_store_speaks_redis(modules: Sequence[Module]) -> list[str]:
    broken: list[str] = []
    for module in modules:
        if _inside(module.name, "docket.store"):
            continue
        for imported in runtime_imports(module):
            errors_only = module.name in REDIS_ERRORS_FOR and "exceptions" in (
                *imported.target.split("."),
                imported.name,
            )
            if _inside(imported.target, "redis") and not errors_only:
                broken.append(module.at(imported.node, "redis is imported outside docket/store"))
        broken += [
            module.at(node, f"issues the Redis command {node.func.attr}")
            for node, _ in module.runtime_nodes
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in REDIS_COMMANDS
        ]
    return broken


def imports_stand_at_the_top(modules: Sequence[Module]) -> list[str]:
    return [
        module.at(imported.node, f"imports {imported.target} inside a function")
        for module in modules
        for imported in runtime_imports(module)
        if imported.in_function and imported.target.split(".")[0] not in EXTRAS
    ]


def private_names_stay_at_home(modules: Sequence[Module]) -> list[str]:
    broken: list[str] = []
    for module in modules:
        own = _private_names_defined(module)
        for node, _ in module.runtime_nodes:
            if isinstance(node, ast.Attribute) and _is_foreign(node, own):
                broken.append(module.at(node, f"reads {node.attr} of another"))
        broken += [
            module.at(imported.node, f"imports the private {imported.target}.{imported.name}")
            for imported in runtime_imports(module)
            if _is_private(imported.name or imported.target.split(".")[-1])
            and imported.target.partition(".")[0] != BUILT_ON.get(module.name)
            and imported.target not in PRIVATE_BY_NAME_ONLY_MODULES
        ]
    return broken


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _is_foreign(node: ast.Attribute, own: frozenset[str]) -> bool:
    if not _is_private(node.attr) or node.attr in own or node.attr in PRIVATE_BY_NAME_ONLY:
        return False
    value = node.value
    if isinstance(value, ast.Call):  # super()._name is a base class's hook, meant for us
        return getattr(value.func, "id", None) != "super"
    return getattr(value, "id", None) not in {"self", "cls"}


def _private_names_defined(module: Module) -> frozenset[str]:
    """Defined at module or class level, or set on self: what this file may call its own."""
    names: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, Function | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and getattr(node.value, "id", None) in {"self", "cls"}
        ):
            names.add(node.attr)
    return frozenset(names)


def files_are_short(modules: Sequence[Module]) -> list[str]:
    return [
        module.at(lines, f"{lines} lines of code, more than {MAX_FILE_LINES}")
        for module in modules
        for lines in (module.lines_of_code,)
        if lines > MAX_FILE_LINES
    ]


def functions_are_short(modules: Sequence[Module]) -> list[str]:
    return [
        module.at(node, f"{node.name} has {_length(node)} lines, more than {MAX_FUNCTION_LINES}")
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, Function) and _length(node) > MAX_FUNCTION_LINES
    ]


def nested_functions_are_short(modules: Sequence[Module]) -> list[str]:
    return [
        module.at(node, f"nested {node.name} has {_length(node)} lines: give it its own place")
        for module in modules
        for node, in_function in module.runtime_nodes
        if in_function and isinstance(node, Function) and _length(node) > MAX_NESTED_FUNCTION_LINES
    ]


def _length(node: Function) -> int:
    """Lines of the signature and the body, the docstring aside: explaining costs nothing."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    if documented and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def imports_have_no_cycle(modules: Sequence[Module]) -> list[str]:
    known = frozenset(module.name for module in modules)
    graph = {
        module.name: {
            target
            for imported in runtime_imports(module)
            if (target := resolve(imported, known)) in known
        }
        for module in modules
    }
    cycles: list[str] = []
    done: set[str] = set()
    for name in graph:
        cycles += _cycles_from(name, graph, [], done)
    return cycles


def _cycles_from(
    name: str, graph: Mapping[str, set[str]], path: list[str], done: set[str]
) -> list[str]:
    if name in path:
        return [" -> ".join([*path[path.index(name) :], name])]
    if name in done:
        return []
    done.add(name)
    return [
        cycle
        for target in sorted(graph[name])
        for cycle in _cycles_from(target, graph, [*path, name], done)
    ]


def supervisor_shares_its_folder_with_supervisord(modules: Sequence[Module]) -> list[str]:
    """Both packages install a top-level `supervisor`: no file of ours may be one of theirs."""
    broken: list[str] = []
    for module in modules:
        parts = module.name.split(".")
        if parts[0] != "supervisor":
            continue
        if len(parts) > 1 and parts[1] in SUPERVISORD_NAMES:
            broken.append(module.at(1, f"supervisord ships {parts[1]} too"))
        only_docstring = len(module.tree.body) == 1 and ast.get_docstring(module.tree)
        if len(parts) == 1 and not only_docstring:
            broken.append(module.at(1, "supervisor/__init__.py is a docstring and nothing else"))
    return broken


def public_classes_have_names_of_their_own(modules: Sequence[Module]) -> list[str]:
    """Within a package: a name that means two things is looked up twice."""
    seen: dict[tuple[str, str], Module] = {}
    broken: list[str] = []
    for module in modules:
        for node in module.tree.body:
            if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
                continue
            first = seen.setdefault((module.name.split(".")[0], node.name), module)
            if first is not module:
                broken.append(module.at(node, f"{node.name} is also a class of {first.path}"))
    return broken


def docstrings_open_with_a_verb_or_a_noun(modules: Sequence[Module]) -> list[str]:
    """A question word makes the reader wait for the thing that is meant."""
    return [
        module.at(node, f"the docstring of {name} opens with {opening.group(1)!r}")
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Module | ast.ClassDef | Function)
        for name in (getattr(node, "name", module.name),)
        if not name.startswith("_")
        for opening in (_QUESTION.match(ast.get_docstring(node) or ""),)
        if opening is not None
    ]


_QUESTION = re.compile(
    r"\W*(what|who|whom|whose|whether|which|how|why|where|when)\b", re.IGNORECASE
)


RULES: tuple[Rule, ...] = (
    imports_lead_only_downwards,
    decisions_touch_nothing_outside,
    packages_keep_their_directions,
    supervisor_uses_only_public_names,
    only_the_store_speaks_redis,
    imports_stand_at_the_top,
    private_names_stay_at_home,
    files_are_short,
    functions_are_short,
    nested_functions_are_short,
    imports_have_no_cycle,
    supervisor_shares_its_folder_with_supervisord,
    public_classes_have_names_of_their_own,
    docstrings_open_with_a_verb_or_a_noun,
)
