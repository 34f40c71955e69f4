"""Jobs as they were written for RQ, ported: plain functions stay plain functions."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

from docket import CurrentDocket, Depends, Docket, Progress, Retry, TaskKey, Timeout

imported: list[str] = []
attempts: list[str] = []


# 1. queue.enqueue(import_file, path, job_timeout=60, result_ttl=500)


def import_file(path: str, timeout: Timeout = Timeout(timedelta(seconds=60))) -> int:
    time.sleep(0.01)  # blocking is fine: it is called in a thread
    imported.append(path)
    return len(path)


# 2. queue.enqueue(post, url, retry=Retry(max=3, interval=[10, 30, 60]))

INTERVALS = [timedelta(milliseconds=each) for each in (10, 30, 60)]


def post(url: str, retry: Retry = Retry(attempts=4)) -> str:
    attempts.append(url)
    if retry.attempt < 4:
        retry.delay = INTERVALS[retry.attempt - 1]
        raise ConnectionError(url)
    return "posted"


# 3. queue.enqueue(report, depends_on=queue.enqueue(import_file, path))


def import_and_report(path: str, docket: Docket = CurrentDocket()) -> int:
    size = import_file(path)
    # The next step is added by the step before, under a key: run again, it is added once.
    docket.sync().add(report, key=f"report-{path}")(path, size)
    return size


def report(path: str, size: int) -> str:
    return f"{path} has {size} lines"


# 4. queue.enqueue(resize, images, on_success=Callback(done), on_failure=Callback(failed)),
#    with job.meta["done"] += 1; job.save_meta()

callbacks: list[str] = []


@contextmanager
def callback(key: str = TaskKey()) -> Generator[None]:
    try:
        yield
    except Exception as error:  # of each attempt, if the job has a Retry
        callbacks.append(f"{key} failed: {error}")
        raise
    callbacks.append(f"{key} succeeded")


def resize(
    images: list[str], progress: Progress = Progress(), callback: None = Depends(callback)
) -> int:
    progress.set_total(len(images))
    for image in images:
        if not image.endswith(".png"):
            raise ValueError(image)
        progress.increment()
    return len(images)


tasks = [import_file, post, import_and_report, report, resize]
