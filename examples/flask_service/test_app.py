from collections.abc import Iterator
from uuid import uuid4

import pytest
from docket import Docket, Worker, testing
from docket.blocking import SyncDocket
from flask.testing import FlaskClient

from app import create_app
from jobs import resize


@pytest.fixture
def docket() -> Docket:
    return Docket(f"test-{uuid4()}", url="memory://")


@pytest.fixture
def images(docket: Docket) -> Iterator[SyncDocket]:
    with docket.sync() as images:
        yield images


@pytest.fixture
def client(images: SyncDocket) -> FlaskClient:
    return create_app(images).test_client()


def run_tasks(docket: Docket, images: SyncDocket) -> None:
    async def run() -> None:
        async with Worker(docket) as worker:
            await worker.run_until_finished()

    images.wait_for(run)


def test_a_request_adds_a_task_once(
    client: FlaskClient, docket: Docket, images: SyncDocket
) -> None:
    for _ in range(2):
        assert client.post("/images/cat.png").json == {"key": "resize-cat.png"}

    images.wait_for(lambda: testing.assert_task_count(docket, resize, count=1))


def test_the_result_is_there_when_a_worker_has_run_it(
    client: FlaskClient, docket: Docket, images: SyncDocket
) -> None:
    client.post("/images/cat.png")
    waiting = client.get("/images/cat.png", query_string={"wait": 0})
    assert (waiting.status_code, waiting.json) == (202, {"state": "queued"})

    run_tasks(docket, images)

    assert client.get("/images/cat.png").json == {"result": "cat.png at 640 pixels"}


def test_an_image_that_nobody_asked_for_is_not_found(client: FlaskClient) -> None:
    assert client.get("/images/unknown").status_code == 404
