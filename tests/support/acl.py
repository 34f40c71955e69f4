"""The users of docs/operations/security.md, and what the code calls on a server."""

import ast
import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from stress.ports import free_ports
from tests.support.documents import ROOT, blocks
from tests.support.servers import Process, machinery

#: What the document calls the docket, and the password of each user.
DOCUMENTED_DOCKET = "orders"
PASSWORD = "p%40ss"  # as a URL writes p@ss

_USER = re.compile(r"^ACL SETUSER (\S+) (.+)$")
_CALL = re.compile(r"(?:redis\.p?call|\bask)\(\s*'([A-Z]+)'(?:,\s*'([A-Z]+)')?")
#: Commands of which a user is given some subcommands only.
CONTAINERS = frozenset({"xgroup", "xinfo", "client", "cluster", "pubsub"})
#: What redis-py says of itself when it connects, and in a URL with a database.
GREETING = frozenset({"client|setinfo", "select"})
#: What the document gives in a cluster of Redis 7.0 or later; Redis 6.2 does not know them.
SHARDED = frozenset({"spublish", "ssubscribe", "sunsubscribe"})
#: What every user may call.
EVERYBODYS = frozenset({"auth", "hello"})


@dataclass(frozen=True)
class User:
    """One `ACL SETUSER` line of the document.

    Attributes:
        name: of the user.
        rules: what follows it, as it stands there.
    """

    name: str
    rules: tuple[str, ...]

    @property
    def commands(self) -> frozenset[str]:
        return frozenset(rule[1:] for rule in self.rules if rule.startswith("+"))

    def without(self, *commands: str) -> "User":
        gone = {f"+{command}" for command in commands}
        return User(self.name, tuple(rule for rule in self.rules if rule not in gone))

    def rules_for(self, docket: str) -> list[str]:
        """The rules, for a docket and with a password that has to be escaped in a URL."""
        named = [rule.replace(f"{{{DOCUMENTED_DOCKET}}}", f"{{{docket}}}") for rule in self.rules]
        return [">p@ss" if rule.startswith(">") else rule for rule in named]


def documented_users() -> dict[str, User]:
    """Each user of docs/operations/security.md, by what follows the docket's name in its own."""
    users: dict[str, User] = {}
    for block in blocks(ROOT / "docs" / "operations" / "security.md", "text"):
        for line in block.text.replace("\\\n", "").splitlines():
            if found := _USER.match(line):
                role = found[1].removeprefix(f"{DOCUMENTED_DOCKET}-")
                rules = users[role].rules if role in users else ()
                users[role] = User(found[1], (*rules, *found[2].split()))
    return users


def called_by_scripts() -> frozenset[str]:
    """Every command in the Lua files."""
    found: set[str] = set()
    for file in Path(str(files("docket.store") / "lua")).glob("*.lua"):
        text = file.read_text("utf-8")
        calls = list(_CALL.finditer(text))
        # None may be written in a way that the pattern does not see.
        dynamic = text.count("redis.pcall(command, name, ...)")
        assert len(calls) + dynamic == len(re.findall(r"redis\.p?call\(|\bask\('", text)), file
        found.update(_named(call[1], call[2]) for call in calls)
    return frozenset(found)


def called_by_python(known: frozenset[str]) -> frozenset[str]:
    """Every command that docket/store names; only there commands are issued (test_layers).

    Arguments:
        known: what the server knows as a command.
    """
    found: set[str] = set()
    for file in sorted((ROOT / "docket" / "store").rglob("*.py")):
        for words in _texts(ast.parse(file.read_text("utf-8"))):
            found.update(
                _named(word, following)
                for word, following in pairwise([*words, ""])
                if word.isupper() and word.lower() in known
            )
    return frozenset(found)


def _texts(tree: ast.AST) -> Iterator[list[str]]:
    """The strings among the arguments of each call, and in each list and tuple."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(args=elements) | ast.Tuple(elts=elements) | ast.List(elts=elements):
                yield [
                    each.value
                    for each in elements
                    if isinstance(each, ast.Constant) and isinstance(each.value, str)
                ]


def _named(command: str, following: str | None) -> str:
    name = command.lower()
    return f"{name}|{(following or '').lower()}" if name in CONTAINERS else name


@contextlib.contextmanager
def restricted_server(binary: Path, docket: str) -> Iterator["Restricted"]:
    """A server that has the documented users."""
    with machinery() as machines:
        (port,) = free_ports(1)
        yield Restricted(machines.server(binary, port=port), docket)


class Restricted:
    """Made by `restricted_server`.

    Attributes:
        process: its client is the administrator's.
        is_redis_7_0: what the server is.
    """

    def __init__(self, process: Process, docket: str) -> None:
        self.process = process
        self._docket = docket
        #: The one that does not know the command by which clients tell their name.
        version = process.client.info("server")["redis_version"]
        self.is_redis_7_0 = version.startswith("7.0.")
        self._is_redis_6 = version.startswith("6.")
        for user in documented_users().values():
            self.allow(user)

    def allow(self, user: User) -> None:
        """Make the user what it is to be, whatever it was."""
        if self.is_redis_7_0:
            user = user.without("client|setinfo")
        if self._is_redis_6:
            user = user.without(*SHARDED)
        rules = user.rules_for(self._docket)
        self.process.client.execute_command("ACL", "SETUSER", user.name, "reset", *rules)

    def url(self, role: str, database: int = 0) -> str:
        name = f"{DOCUMENTED_DOCKET}-{role}"
        return f"redis://{name}:{PASSWORD}@127.0.0.1:{self.process.port}/{database}"

    def denies_nothing(self) -> None:
        """What was denied is in the server's own log of it, whoever swallowed the error."""
        log = self.process.client.execute_command("ACL", "LOG")
        assert log == []
        self.process.client.execute_command("ACL", "LOG", "RESET")
