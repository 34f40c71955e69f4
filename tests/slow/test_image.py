"""The image of docs/deploy/Dockerfile: its steps everywhere, itself where an engine answers."""

import contextlib
import subprocess
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from docket import Docket
from stress.ports import free_port
from tests.support.dockets import knowing
from tests.support.images import Steps, engine, index_of, with_port, write_app
from tests.support.supervised import PATIENCE_SECONDS, ROOT, Program
from tests.support.wheels import built, ended, run

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

#: The user of the image, and what a pod allows it (docs/deploy/kubernetes/deployment.yaml).
LOCKED = ("--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only", "--tmpfs=/tmp")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an app with the files that the Dockerfile names."""
    wheel = built(ROOT, tmp_path_factory.mktemp("wheel"))
    folder = tmp_path_factory.mktemp("image") / "app"
    with index_of(wheel) as links:
        write_app(folder, links, wheel)
        yield folder


async def greet(name: str) -> str:
    raise AssertionError(f"the pool greets {name}")


async def greeted(url: str) -> str:
    async with knowing(Docket("app", url), [greet]) as docket:
        execution = await docket.add(greet)("Ann")
        return await execution.get_result()


async def test_its_steps_make_a_program_that_runs_the_tasks_of_the_app(
    app: Path, tmp_path: Path
) -> None:
    image = Steps(app, tmp_path).carry_out()
    command = with_port(image.command, free_port())
    program = ended("sh", "-c", 'command -v "$0"', command[0], environment=image.environment)
    assert program.stdout == f"{tmp_path}/opt/venv/bin/docket-supervisor\n"
    # Of the checkout that the tests run in it is to see nothing.
    environment = {**image.environment, "PYTHONPATH": "", "DOCKET_URL": "memory://"}
    with Program((), environment, tmp_path, (program.stdout.strip(), *command[1:])) as pool:
        pool.wait_for("1 task in app.jobs:tasks: greet")
        pool.wait_for("pool ready")
        assert pool.get("/readyz")[0] == 200
        assert await greeted(pool.url) == "Hello, Ann!"
        assert pool.end() == 0


def test_a_step_that_fails_would_be_found(app: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    text = (app / "Dockerfile").read_text()
    (wrong / "Dockerfile").write_text(text.replace("python -m venv", "python -m vnev"))
    with pytest.raises(AssertionError, match="No module named vnev"):
        Steps(wrong, tmp_path / "root").carry_out()


@contextlib.contextmanager
def image_of(app: Path, command: str) -> Generator[str]:
    """The image of the app, built by an engine for the length of the block."""
    base = (app / "Dockerfile").read_text().partition("ARG BASE=")[2].splitlines()[0]
    if ended(command, "image", "inspect", base).returncode != 0:
        pulled = ended(command, "pull", base)
        if pulled.returncode != 0:
            pytest.skip(f"the base image cannot be had here: {pulled.stderr.splitlines()[-1]}")
    name = f"docket-test-{uuid.uuid4().hex[:8]}"
    run(command, "build", "--network=host", "-t", name, ".", folder=app)
    try:
        yield name
    finally:
        ended(command, "rmi", "--force", name)


def test_an_engine_builds_it_and_it_runs_as_pid_1_without_rights_and_drains(app: Path) -> None:
    command = engine()
    if command is None:
        pytest.skip("no container engine answers here (docker, podman)")
    with image_of(app, command) as image:
        setting = "--env=DOCKET_URL=memory://"
        started = run(command, "run", "--detach", "--init=false", *LOCKED, setting, image)
        container = started.strip()
        try:
            with subprocess.Popen(
                [command, "logs", "--follow", container], stderr=subprocess.PIPE, text=True
            ) as log:
                assert log.stderr is not None
                said: list[str] = []
                for line in log.stderr:
                    said.append(line)
                    if "pool ready" in line:
                        break
                log.kill()
            assert "pool ready" in said[-1], "".join(said)
            status = run(command, "exec", container, "docket-supervisor", "ctl", "status")
            assert "pid 1" in status
            assert run(command, "exec", container, "id", "-u") == "10001\n"
            run(command, "stop", "-t", f"{PATIENCE_SECONDS:.0f}", container)
            asked = run(command, "inspect", "--format={{.State.ExitCode}}", container)
            assert asked == "0\n"
        finally:
            ended(command, "rm", "--force", container)
