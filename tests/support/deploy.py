"""The deployment files as values: units, manifests, the Dockerfile."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from supervisor.cli.commands import configure, docket_supervisor
from supervisor.config import SupervisorConfig
from tests.support.documents import ROOT

FOLDER = ROOT / "docs" / "deploy"
#: What the Dockerfile reference lists.
INSTRUCTIONS = frozenset(
    "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL"
    " STOPSIGNAL USER VOLUME WORKDIR".split()
)

Directives = dict[tuple[str, str], list[str]]


def unit(path: Path) -> Directives:
    """Section and name -> the values given, in order (systemd.syntax(7), as far as ours go)."""
    found: Directives = {}
    section = ""
    for line in path.read_text("utf-8").splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            section = heading[1]
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault((section, name), []).append(value)
    return found


def seconds(value: str) -> float:
    """`90s`, as the units write their times."""
    assert value.endswith("s"), value
    return float(value[:-1])


def manifests(name: str) -> list[dict[str, Any]]:
    """The objects of one file of docs/deploy/kubernetes."""
    return list(yaml.safe_load_all((FOLDER / "kubernetes" / name).read_text("utf-8")))


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile: its name in capitals, and what it is given."""

    name: str
    given: str

    @property
    def words(self) -> list[str]:
        """The words of an exec form.

        Raises:
            ValueError: it is of the shell form.
        """
        return [str(each) for each in json.loads(self.given)]


def dockerfile(text: str) -> list[list[Instruction]]:
    """The stages of a Dockerfile; what stands before the first FROM is the first of them.

    Raises:
        ValueError: a line is no instruction.
    """
    stages: list[list[Instruction]] = [[]]
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, given = line.strip().partition(" ")
        if not name:
            continue
        if name not in INSTRUCTIONS:
            raise ValueError(f"{name!r} is no instruction of a Dockerfile")
        if name == "FROM":
            stages.append([])
        stages[-1].append(Instruction(name, " ".join(shlex.split(given, posix=False))))
    return stages


def the(name: str, stage: list[Instruction]) -> Instruction:
    """The only instruction of this name in a stage."""
    (only,) = [each for each in stage if each.name == name]
    return only


def value(directives: Directives, name: str) -> str:
    """The only value of a setting of the service."""
    (only,) = directives["Service", name]
    return only


def comments_of(path: Path) -> str:
    """The comments of a deployment file."""
    lines = path.read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if line.startswith("#"))


def config_of(words: list[str]) -> SupervisorConfig:
    """What the program would run with; it objects to a word or a value that it does not know."""
    run = docket_supervisor.get_command(click.Context(docket_supervisor), "run")
    assert run is not None
    return configure(run.make_context("run", list(words)).params, {})
