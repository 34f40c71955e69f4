"""A service that adds tasks, and tells how they are getting on."""

import os
from datetime import timedelta

from docket import Docket
from docket.blocking import SyncDocket
from flask import Flask, request

from jobs import resize


def create_app(images: SyncDocket | None = None) -> Flask:
    app = Flask(__name__)
    if images is None:
        url = os.environ.get("DOCKET_URL", "redis://localhost:6379/0")
        # Nothing is opened here: the first call does that, in the process that serves requests.
        images = Docket(name="images", url=url).sync()

    @app.post("/images/<image>")
    def add(image: str) -> tuple[dict[str, str], int]:
        return {"key": images.add(resize, key=f"resize-{image}")(image, 640).key}, 202

    @app.get("/images/<image>")
    def show(image: str) -> dict[str, object] | tuple[dict[str, str], int]:
        execution = images.get_execution(f"resize-{image}")
        if execution is None:
            return {"error": "nobody asked for this image, or it has expired"}, 404
        wait = timedelta(seconds=request.args.get("wait", 5, type=float))
        try:
            return {"result": execution.get_result(timeout=wait)}
        except TimeoutError:
            return {"state": execution.state.value}, 202

    return app
