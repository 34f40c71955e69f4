"""The same service with its worker in the same process, for development."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from docket import Worker
from fastapi import FastAPI

import app as service
import jobs


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with service.lifespan(app):
        for task in jobs.tasks:
            app.state.docket.register(task)
        async with Worker(app.state.docket) as worker:
            running = asyncio.create_task(worker.run_forever())
            yield
            running.cancel()  # claim no more, finish what runs
            await running


app = FastAPI(lifespan=lifespan)
app.include_router(service.app.router)
