"""Tasks on images, and what becomes of the answers: shown or printed as JSON, cut out, drawn."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import aclosing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group

from app.cli.analyze.image_files import Annotated, Crops, picture_of
from app.cli.analyze.rendering import heading, rendered
from app.cli.connection import understood
from app.cli.folder import reason
from app.cli.printing import printable, table_console
from app.cli.progress import Bar, image_bars, waiting
from app.cli.tasks.json_schema import Schema
from app.client import Answer, Refused, SightgraphError
from app.client.task import wire_tasks

if TYPE_CHECKING:
    from app.cli.analyze.sources import Source
    from app.cli.tasks.given import Catalog
    from app.client import AsyncSightgraph

# Cuts out the whole of an image behind a URL, to be drawn on as the server saw it.
_WHOLE = {"type": "crop", "params": {"target": "whole_image", "crop_format": "png"}}


class Analysis:
    """One run of the command.

    Args:
        sources: the images.
        tasks: for each of them.
        catalog: what the server has.
        as_json: whether answers are printed as they came.
        several: whether answers come one a line, also where there is one.
        crops: a folder for the crops.
        annotate: a folder or a file for the images with what was found.
    """

    def __init__(
        self,
        sources: "Sequence[Source]",
        tasks: Sequence[Mapping[str, Any]],
        catalog: "Catalog",
        *,
        as_json: bool,
        several: bool,
        crops: Path | None,
        annotate: Path | None,
    ) -> None:
        self.failed = False
        self._sources = sources
        self._as_json = as_json
        self._several = several
        self._tasks = wire_tasks([dict(task) for task in tasks])
        self._types = {task["operation_id"]: task["type"] for task in self._tasks}
        schemas = {
            name: Schema.root(catalog[type_]["data"])
            for name, type_ in self._types.items()
            if type_ in catalog
        }
        self._schemas = schemas
        self._crops = None if crops is None else Crops(crops)
        self._annotated = None if annotate is None else Annotated(annotate, schemas)
        self._whole: str | None = None
        if annotate is not None and any(source.path is None for source in sources):
            # Its id is one that no task has.
            self._whole = wire_tasks([*self._tasks, {**_WHOLE, "operation_id": None}])[-1]["operation_id"]
        if crops is None and not as_json:
            self._tasks = [_without_crop(task, catalog) for task in self._tasks]

    async def run(self, server: "AsyncSightgraph") -> None:
        """Analyse all images.

        Raises:
            SightgraphError: the server does not work, or is full.
            ClickException: a file cannot be written, or an answer not understood.
        """
        tasks = self._tasks
        if self._whole is not None:
            tasks = [*tasks, {**_WHOLE, "operation_id": self._whole}]
        if not self._several:
            (source,) = self._sources
            try:
                with waiting("analysing"):
                    answer = await server.analyze(source.image, tasks)
            except (Refused, OSError) as error:
                self._not_analyzed(source, error)
            else:
                await self._answered(source, answer)
            return
        bars = image_bars()
        # On a terminal the answers themselves tell how far it is.
        with nullcontext() if sys.stdout.isatty() else bars:
            bar = Bar(bars, bars.add_task("images", total=len(self._sources)))
            images = {number: source.image for number, source in enumerate(self._sources)}
            # Closed at once, also where a file cannot be written, and nobody reads the output any more.
            async with aclosing(server.analyze_batch(images, tasks)) as answers:
                async for each in answers:
                    source = self._sources[each.id]
                    if each.answer is not None:
                        await self._answered(source, each.answer)
                    else:
                        self._not_analyzed(source, each.error)
                    bar.seen()

    def refused(self, name: str, why: str) -> None:
        """Tell of what cannot be analysed."""
        self.failed = True
        click.echo(f"{printable(name)}: {printable(why)}", err=True)

    def tell_written(self) -> None:
        """Say what was written, where anything should have been."""
        if self._crops is not None:
            told = f"{self._crops.count} crops in {self._crops.folder}"
            if not self._crops.count:
                told = "No result has a crop; `-t crop:target=task:ID` cuts out what the task ID found."
            click.echo(told, err=True)
        if self._annotated is not None and self._annotated.count:
            click.echo(f"Drawn: {self._annotated.told}", err=True)

    async def _answered(self, source: "Source", answer: Answer) -> None:
        with understood():
            answer, whole = self._apart(answer)
            self.failed |= any(result.status == "error" for result in answer.values())
            self._print(source, answer)
            # Drawing takes its time, in which the application in this process goes on.
            await asyncio.to_thread(self._write, source, answer, whole)

    def _write(self, source: "Source", answer: Answer, whole: str | None) -> None:
        if self._crops is not None:
            self._crops.keep(source, answer)
        if self._annotated is None:
            return
        try:
            picture = picture_of(source, whole)
            if picture is None:
                self.refused(source.name, "cannot be decoded here, and is not drawn on")
            else:
                self._annotated.draw(source, answer, picture)
        except OSError as error:
            self.refused(source.name, reason(error))

    def _apart(self, answer: Answer) -> tuple[Answer, str | None]:
        """The answer to what was asked, and the whole image where that was asked for beside."""
        if self._whole is None:
            return answer, None
        results = dict(answer.raw["results"])
        whole = results.pop(self._whole)
        return Answer({**answer.raw, "results": results}), whole["cropped_image_base64"]

    def _print(self, source: "Source", answer: Answer) -> None:
        if self._as_json:
            # Of a batch, an answer also tells the image's place in its request, which is none of the user's.
            told = {name: value for name, value in answer.raw.items() if name not in ("id", "index")}
            self._print_json({"source": source.name, **told})
            return
        console = table_console()
        # As a whole: of an answer that cannot be shown no half is printed.
        console.print(Group(heading(source.name, answer), rendered(answer, self._types, self._schemas)))
        if self._several:
            console.print()

    def _print_json(self, document: Mapping[str, Any]) -> None:
        click.echo(json.dumps(document, indent=None if self._several else 1))

    def _not_analyzed(self, source: "Source", error: SightgraphError | OSError | None) -> None:
        message = reason(error) if isinstance(error, OSError) else str(error)
        if self._as_json and self._several:
            status = error.status if isinstance(error, Refused) else None
            self._print_json({"source": source.name, "detail": message, "status": status})
        self.refused(source.name, message)


def _without_crop(task: dict[str, Any], catalog: "Catalog") -> dict[str, Any]:
    """The task, without the pixels of its region: nobody would see them."""
    facts, params = catalog.get(task["type"]), task.get("params") or {}
    choices = {} if facts is None else facts["params"]["properties"].get("crop_format", {})
    if "none" not in choices.get("enum", ()) or not isinstance(params, dict):
        return task
    return {**task, "params": {"crop_format": "none", **params}}
