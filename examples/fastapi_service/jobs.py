"""The tasks of the service: what the pool runs."""

import asyncio

from docket import Progress


async def build_report(month: str, pages: int, progress: Progress = Progress()) -> str:
    await progress.set_total(pages)
    for page in range(1, pages + 1):
        await asyncio.sleep(0.01)  # the work
        await progress.set_message(f"page {page}")
        await progress.increment()
    return f"report of {month}: {pages} pages"


async def send_mail(address: str) -> None: ...


tasks = [build_report, send_mail]
