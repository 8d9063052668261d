"""The server that people write first: models in global variables, and a handler that calls them in turn.

As in most tutorials the handler is `async` and calls the models directly, so the event loop stands still
meanwhile: one request is worked on at a time, each model call on all cores. What one image needs twice is
computed once, as nobody would write it otherwise. Nothing is kept, and nothing is refused.

    benchmark_plain.py SCENARIO --port PORT
"""

import json
import os
from typing import Any

import click
import uvicorn
from benchmark_models import Models, decoded, threads
from benchmark_scenarios import SCENARIOS
from litestar import Litestar, Request, get, post


@click.command()
@click.argument("scenario", type=click.Choice(list(SCENARIOS)))
@click.option("--port", required=True, type=int)
def main(scenario: str, port: int) -> None:
    """Serve a scenario on loopback."""
    models = Models(SCENARIOS[scenario].engines)
    # What torch does by itself.
    threads(os.cpu_count() or 1)

    @post("/analyze_image_upload/", status_code=200)
    async def analyze_image_upload(request: Request[Any, Any, Any]) -> dict[str, Any]:
        form = await request.form()
        image = decoded(await form["image_file"].read())
        answers = models.one_by_one(image, json.loads(form["tasks_json"]))
        return {"results": {name: {"status": "success", "data": data} for name, data in answers.items()}}

    @get(["/health/live", "/health/ready"])
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @get("/available_operations/")
    async def available_operations() -> dict[str, Any]:
        return {"operations": {task["type"]: {} for task in SCENARIOS[scenario].tasks}}

    app = Litestar([analyze_image_upload, live, available_operations], openapi_config=None)
    # A loop that stands still cannot tell an idle connection from one that it has not read.
    uvicorn.run(app, port=port, log_level="warning", timeout_keep_alive=600, timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
