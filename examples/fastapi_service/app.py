"""A service that adds tasks, and tells how they are getting on."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any

from docket import Docket, Execution, ExecutionState
from fastapi import Depends, FastAPI, HTTPException, Request

from jobs import build_report, send_mail


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    url = os.environ.get("DOCKET_URL", "redis://localhost:6379/0")
    async with Docket(name="reports", url=url) as docket:
        app.state.docket = docket
        yield


app = FastAPI(lifespan=lifespan)


def docket_of_the_app(request: Request) -> Docket:
    return request.app.state.docket


AppDocket = Annotated[Docket, Depends(docket_of_the_app)]


@app.post("/reports/{month}", status_code=202)
async def create_report(month: str, docket: AppDocket, pages: int = 3) -> dict[str, str]:
    # The key makes the request idempotent: sent twice, it is one report.
    execution = await docket.add(build_report, key=f"report-{month}")(month, pages)
    return {"key": execution.key}


async def found(key: str, docket: AppDocket) -> Execution:
    execution = await docket.get_execution(key)
    if execution is None:
        raise HTTPException(404, "no such report, or it has expired")
    return execution


@app.get("/reports/{key}")
async def show_report(execution: Annotated[Execution, Depends(found)]) -> dict[str, Any]:
    progress = execution.progress
    return {
        "state": execution.state,
        "done": progress.current,
        "of": progress.total,
        "message": progress.message,
    }


@app.get("/reports/{key}/result")
async def download_report(execution: Annotated[Execution, Depends(found)]) -> dict[str, Any]:
    try:
        return {"report": await execution.get_result(timeout=timedelta(seconds=20))}
    except TimeoutError:
        raise HTTPException(503, "not ready yet", headers={"Retry-After": "5"}) from None


@app.delete("/reports/{key}", status_code=204)
async def cancel_report(execution: Annotated[Execution, Depends(found)], docket: AppDocket) -> None:
    if execution.state is not ExecutionState.COMPLETED:
        await docket.cancel(execution.key)


@app.post("/mails/{address}", status_code=202)
def mail(address: str, docket: AppDocket) -> dict[str, str]:
    # A plain `def` runs in a thread, where nothing can be awaited: sync() waits there.
    return {"key": docket.sync().add(send_mail)(address).key}
