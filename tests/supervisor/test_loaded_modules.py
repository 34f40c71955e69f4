"""The modules that each kind of process loads: memory that every pool pays for."""

import subprocess
import sys

import pytest

#: The code that each kind of process imports at its start, and what must not come with it.
#:
#: A supervisor has no user code and no connection to the store. A nursery shares what it loads with
#: its workers, who load nothing more at their start. The guard is a bare interpreter.
KINDS = {
    "supervisor": (
        "supervisor.signals, supervisor.cli.commands, supervisor.supervisor",
        {
            *("docket", "redis", "hiredis", "uvloop", "psutil", "rich", "prometheus_client"),
            *("supervisor.worker", "supervisor.nursery", "supervisor.monitoring.metrics"),
            *("supervisor.ctl", "supervisor.demo", "supervisor.dashboard"),
            *("http.server", "email", "importlib.metadata", "multiprocessing", "difflib"),
            "tomllib",
        },
    ),
    "nursery": (
        "supervisor.nursery.program",
        {
            *("click", "psutil", "rich", "prometheus_client", "cloudpickle"),
            *("docket.listing", "docket.cli", "docket.web", "docket.instrumentation.collector"),
            *("docket.instrumentation.http_server", "docket.store.embedded.embedded_server"),
            *("supervisor.supervisor", "supervisor.cli", "supervisor.pool", "supervisor.control"),
            *("supervisor.processes", "supervisor.monitoring", "supervisor.config"),
            *("http.server", "multiprocessing", "difflib", "zoneinfo", "tomllib"),
        },
    ),
    "guard": (
        "supervisor.child.orphan_guard",
        {"asyncio", "logging", "subprocess", "typing", "dataclasses", "docket", "ipc", "threading"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_loads_nothing_that_only_another_kind_needs(kind: str) -> None:
    modules, foreign = KINDS[kind]
    # Without OpenTelemetry, whose SDK redis-py imports where it is installed, and psutil with it.
    program = (
        "import sys; sys.modules['opentelemetry'] = None; before = {*sys.modules};"
        f"import {modules};"
        "print(*sorted({*sys.modules} - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = done.stdout.split()

    assert modules.split(", ")[-1] in loaded
    assert [name for name in loaded if any(_is_part(name, of) for of in foreign)] == []


def _is_part(module: str, of: str) -> bool:
    return module == of or module.startswith(f"{of}.")
