"""Preparation of a process that forks workers: it does once what each of them would do for itself.

A fork shares the memory of its parent until it writes to it, and Python writes to most of what it
runs. So code that only makes something for the whole life of a worker is run before the fork.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from docket.dependencies.prepared_plans import prepare_plan
from docket.store.connection.urls import validate_url
from docket.tasks import standard_tasks


def prepare(url: str, functions: Iterable[Callable[..., Any]]) -> None:
    """Prepare for workers on a server, with the built-in tasks and these; nothing is connected.

    What is wrong with a URL or a function is left to the workers, which report it.

    Args:
        url: the URL of the server.
        functions: the functions that every worker will register.
    """
    with suppress(ValueError):
        validate_url(url)
    for function in (*standard_tasks, *functions):
        prepare_plan(function)
