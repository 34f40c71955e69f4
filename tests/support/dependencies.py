"""The distributions that a source tree imports, compared with those of pyproject.toml.

Read from the syntax trees, so that an import that only one system or one extra reaches counts too.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import Any

from tests.support.source_tree import PACKAGES, Module

#: Calls that name a module in a string.
BY_NAME = frozenset({"find_spec", "import_module"})

_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?")


@dataclass(frozen=True)
class Declared:
    """The distributions of pyproject.toml, by their normal names."""

    base: frozenset[str] = frozenset()
    #: By the name of each extra.
    extras: Mapping[str, frozenset[str]] = field(default_factory=dict)
    #: What a dependency brings with an extra of its own: `redis[hiredis]` is {"hiredis": "redis"}.
    brought: Mapping[str, str] = field(default_factory=dict)

    @property
    def optional(self) -> frozenset[str]:
        """Of all extras, without what is there in any case."""
        return frozenset().union(*self.extras.values()) - self.base


def declared_in(pyproject: Mapping[str, Any]) -> Declared:
    """What the parsed pyproject.toml declares for who installs the package."""
    project = pyproject["project"]
    found = [_REQUIREMENT.match(each) for each in project["dependencies"]]
    matches = [match for match in found if match is not None]
    assert len(matches) == len(project["dependencies"])
    return Declared(
        frozenset(normal(match[1]) for match in matches),
        {
            extra: frozenset(_names(requirements))
            for extra, requirements in project.get("optional-dependencies", {}).items()
        },
        {
            normal(extra.strip()): normal(match[1])
            for match in matches
            for extra in (match[2] or "").split(",")
            if extra.strip()
        },
    )


@dataclass(frozen=True)
class Use:
    """One import of a module that is neither ours nor Python's."""

    place: str
    distribution: str
    #: It may fail, or does not run: in a `try` for ImportError, under TYPE_CHECKING, find_spec.
    optional: bool


def uses(modules: Sequence[Module]) -> Iterator[Use]:
    """Every one of a tree."""
    for module in modules:
        for node, optional in _nodes(module.tree, False):
            for target in _targets(node):
                top = target.partition(".")[0]
                if top not in sys.stdlib_module_names and top not in PACKAGES:
                    by_name = isinstance(node, ast.Call)
                    yield Use(module.at(node, target), provider(target), optional or by_name)


def undeclared(declared: Declared, modules: Sequence[Module]) -> list[str]:
    """Imports of what installing the package does not bring."""
    known = declared.base | declared.optional | declared.brought.keys()
    return [
        f"{use.place}: {use.distribution} is not declared"
        for use in uses(modules)
        if use.distribution not in known
    ]


#: Packages of ours that need an extra, by its name: nothing else imports them but by name.
OF_EXTRAS = {"docket.web": "web"}


def unguarded(declared: Declared, modules: Sequence[Module]) -> list[str]:
    """Imports that fail where an extra was not installed."""
    return [
        f"{use.place}: {use.distribution} is an extra, and not everybody has it"
        for module in modules
        for use in uses([module])
        if use.distribution in declared.optional - _own(declared, module) and not use.optional
    ]


def needing_an_extra(modules: Sequence[Module]) -> list[str]:
    """Imports of a package of ours that fails where its extra was not installed."""
    return [
        f"{module.at(node, target)}: not everybody has the extra {extra}"
        for module in modules
        for node, optional in _nodes(module.tree, False)
        for target in _targets(node)
        for package, extra in OF_EXTRAS.items()
        if _is_in(target, package)
        and not (_is_in(module.name, package) or optional or isinstance(node, ast.Call))
    ]


def _own(declared: Declared, module: Module) -> frozenset[str]:
    """The distributions of the extra that a module is a part of."""
    return frozenset().union(
        *(
            declared.extras.get(extra, frozenset())
            for package, extra in OF_EXTRAS.items()
            if _is_in(module.name, package)
        )
    )


def _is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def unused(declared: Declared, modules: Sequence[Module]) -> list[str]:
    """Declared distributions that nothing imports."""
    used = {use.distribution for use in uses(modules)}
    where = {None: declared.base, **declared.extras}
    return [
        f"{name} is declared{f' in the extra {extra}' if extra else ''} and never imported"
        for extra, names in where.items()
        for name in sorted(names - used)
    ]


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def provider(target: str) -> str:
    """The distribution that a module comes from; its own name where none is installed."""
    top = target.partition(".")[0]
    candidates = sorted(set(_distributions().get(top, [])))
    if len(candidates) < 2:
        return normal(candidates[0] if candidates else top)
    # A namespace of several, such as opentelemetry: who has the file of the longest part.
    parts = target.split(".")
    for length in range(len(parts), 0, -1):
        path = "/".join(parts[:length])
        for each in candidates:
            if not _files(each).isdisjoint({f"{path}.py", f"{path}/__init__.py"}):
                return normal(each)
    return normal(candidates[0])


@cache
def _distributions() -> Mapping[str, Sequence[str]]:
    return metadata.packages_distributions()


@cache
def _files(distribution: str) -> frozenset[str]:
    return frozenset(map(str, metadata.distribution(distribution).files or ()))


def _names(requirements: Sequence[str]) -> Iterator[str]:
    for each in requirements:
        match = _REQUIREMENT.match(each)
        assert match is not None, each
        yield normal(match[1])


def _nodes(node: ast.AST, optional: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below, with whether it may fail to import."""
    for child in ast.iter_child_nodes(node):
        inside = optional or _is_type_checking(child)
        yield child, inside
        if isinstance(child, ast.Try):
            guarded = inside or any(_catches_import_error(each) for each in child.handlers)
            for statement in ast.iter_child_nodes(child):
                within = guarded if statement in child.body else inside
                yield statement, within
                yield from _nodes(statement, within)
        else:
            yield from _nodes(child, inside)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    caught = "" if handler.type is None else ast.unparse(handler.type)
    return "ImportError" in caught or "ModuleNotFoundError" in caught


def _targets(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=str(module), names=names, level=0):
            # The name may be a module of its own, in a namespace that several share.
            yield from (f"{module}.{alias.name}" for alias in names)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[first, *_]) if (
            name in BY_NAME
        ):
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value
        case _:
            return
