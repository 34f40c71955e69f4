"""A service that enqueues by name: it has none of the code of the jobs, only their signatures."""

from docket import Docket, Execution

# 4. await redis.enqueue_job("download", url, _job_id=url)


async def download(url: str) -> int:
    raise NotImplementedError("runs in the pool")


async def request_download(docket: Docket, url: str) -> Execution:
    return await docket.add(download, key=url)(url)
