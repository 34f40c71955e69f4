"""Source files as values: parsed, with the imports that happen when they run."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

PACKAGES = ("docket", "docket_display", "ipc", "supervisor")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, its path relative to the root, its text."""

    name: str
    path: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def lines_of_code(self) -> int:
        """Lines that are no docstring, no comment and not blank: explaining costs nothing."""
        explaining = {
            line
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        }
        return sum(
            bool(text := line.strip()) and not text.startswith("#") and number not in explaining
            for number, line in enumerate(self.source.splitlines(), start=1)
        )

    @cached_property
    def runtime_nodes(self) -> tuple[tuple[ast.AST, bool], ...]:
        """Every node that runs, with its being in a function; walked once for all rules."""
        return tuple(_runtime_nodes(self.tree))

    def at(self, node: ast.AST | int, message: str) -> str:
        line = node if isinstance(node, int) else getattr(node, "lineno", 0)
        return f"{self.path}:{line}: {message}"


@dataclass(frozen=True)
class Import:
    """One imported module (`target`, absolute) and, of `from m import n`, the name."""

    node: ast.stmt
    target: str
    name: str | None
    in_function: bool


@cache
def read_tree(root: Path, folders: Sequence[str] = PACKAGES) -> tuple[Module, ...]:
    """Read every .py file below `folders` of `root`, once a process."""
    paths = [path for folder in folders for path in sorted((root / folder).rglob("*.py"))]
    return tuple(module_of(path.relative_to(root), path.read_text("utf-8")) for path in paths)


def module_of(path: Path, source: str) -> Module:
    parts = path.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name, path.as_posix(), source)


def parse_tree(files: Mapping[str, str]) -> list[Module]:
    """The same from texts by path, for samples."""
    return [module_of(Path(path), source) for path, source in files.items()]


def _is_type_checking(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    test = node.test
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _runtime_nodes(node: ast.AST, in_function: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below that runs, with whether it stands in a function."""
    for child in ast.iter_child_nodes(node):
        if _is_type_checking(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield other, in_function
                yield from _runtime_nodes(other, in_function)
            continue
        yield child, in_function
        inside = in_function or isinstance(child, Function | ast.Lambda)
        yield from _runtime_nodes(child, inside)


def runtime_imports(module: Module) -> list[Import]:
    """What the module imports when it runs: nothing of a TYPE_CHECKING block."""
    found: list[Import] = []
    for node, in_function in module.runtime_nodes:
        if isinstance(node, ast.Import):
            found += [Import(node, alias.name, None, in_function) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            target = _absolute(module, node)
            found += [Import(node, target, alias.name, in_function) for alias in node.names]
    return found


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.name.split(".")
    up = node.level - (1 if module.path.endswith("__init__.py") else 0)
    base = package[: len(package) - up] if up else package
    return ".".join([*base, *([node.module] if node.module else [])])


def resolve(imported: Import, known: frozenset[str]) -> str:
    """The module that is meant: `from docket import worker` is docket.worker, not docket."""
    whole = f"{imported.target}.{imported.name}"
    return whole if imported.name is not None and whole in known else imported.target
