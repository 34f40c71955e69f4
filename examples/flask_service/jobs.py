"""The tasks of the service: what the pool runs."""

import time

from docket import Progress


def resize(image: str, width: int, progress: Progress = Progress()) -> str:
    progress.set_total(2)
    for _ in range(2):
        time.sleep(0.01)  # the work; it may block, since a plain function is called in a thread
        progress.increment()
    return f"{image} at {width} pixels"


tasks = [resize]
