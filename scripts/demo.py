"""Start a server, send it a sample photo with every operation, show the answers, stop.

Writes `answer.json`, `plan.mmd` and `boxes.png` into a folder.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

import click
import httpx
import numpy as np
import PIL.Image
import PIL.ImageDraw
from rich.console import Console
from rich.table import Table
from serving import serving

COLLECTION = "photos"

# Tasks that show more than an operation's example: faces, all of them, a box found by another task.
SHOWN = [
    {
        "operation_id": "face",
        "type": "detect_bounding_box",
        "params": {"target": "prominent_face", "face_context": "whole_image"},
    },
    {
        "operation_id": "all_faces",
        "type": "detect_bounding_box",
        "params": {"target": "all_faces"},
    },
    {
        "operation_id": "face_vector",
        "type": "embed_hog_hsv",
        "params": {"target": {"task": "face"}, "crop_format": "jpeg"},
    },
    {
        "operation_id": "likeness",
        "type": "compare",
        "params": {"a": "face_vector", "b": "embed_hog_hsv"},
    },
    {
        "operation_id": "rocket",
        "type": "crop",
        "params": {"target": {"bbox": [340, 0, 510, 300]}, "crop_format": "webp"},
    },
]


@click.command()
@click.option(
    "--out",
    default="demo",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the files go.",
)
@click.option("--patience", default=300.0, show_default=True, help="Seconds to wait for the models.")
def main(out: Path, patience: float) -> None:
    """Answer a sample photo with every ready operation."""
    from skimage import data

    # Where the output is no terminal, it is as wide as the table likes to be.
    console = Console() if sys.stdout.isatty() else Console(width=150)
    out.mkdir(parents=True, exist_ok=True)
    photo = out / "astronaut.png"
    PIL.Image.fromarray(data.astronaut()).save(photo)
    # A server that runs beside it holds the index of the usual data folder.
    environment = {"SIGHTGRAPH_DATA": str(out / "data")}
    with (out / "server.log").open("wb") as log, console.status("loading the models") as status:
        with serving(log=log, environment=environment, timeout=120, patience=patience) as (client, _):
            status.update("answering")
            fill_collection(client)
            tasks = all_tasks(client)
            response = client.post(
                "/analyze_image_upload/",
                files={"image_file": photo.open("rb")},
                data={"tasks_json": json.dumps(tasks)},
            ).raise_for_status()
            drawing = client.post(
                "/plan/", json={"tasks": tasks}, headers={"Accept": "text/vnd.mermaid"}
            ).raise_for_status()
    answer = response.json()
    (out / "answer.json").write_text(json.dumps(answer, indent=1), encoding="utf-8")
    (out / "plan.mmd").write_text(drawing.text, encoding="utf-8")
    draw_boxes(photo, tasks, answer).save(out / "boxes.png")
    console.print(table_of(tasks, answer))
    nodes = answer["timings_ms"]["nodes"]
    console.print(
        f"{len(tasks)} tasks were answered by {len(nodes)} stages in "
        f"{answer['timings_ms']['total']:.0f} ms. "
        f"Written to {out}/: answer.json, boxes.png, plan.mmd, server.log"
    )
    if any(result["status"] == "error" for result in answer["results"].values()):
        raise SystemExit(1)


def fill_collection(client: httpx.Client) -> None:
    """Give the index the collection that the examples of its operations name."""
    from skimage import data

    files = []
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        file = io.BytesIO()
        PIL.Image.fromarray(getattr(data, name)()).save(file, "PNG")
        files.append((name, file.getvalue()))
    made = client.post("/index/", json={"name": COLLECTION, "operation": "embed_hog_hsv"})
    if made.status_code != httpx.codes.CONFLICT:
        made.raise_for_status()
    client.post(
        f"/index/{COLLECTION}/items/",
        files=[("image_file", (f"{name}.png", content)) for name, content in files],
        data={"id": [name for name, _ in files]},
    ).raise_for_status()


def all_tasks(client: httpx.Client) -> list[dict[str, Any]]:
    """One task of every operation that is ready, at its example, and those that show more."""
    operations = client.get("/available_operations/").raise_for_status().json()["operations"]
    ready = {name for name, facts in operations.items() if facts["ready"]}
    # That of `compare` speaks of tasks which are none of these, and nobody has trained a classifier yet.
    plain = [
        {"operation_id": name, "type": name, "params": operations[name]["example"]}
        for name in sorted(ready - {"compare", "classify"})
    ]
    return [*plain, *(task for task in SHOWN if task["type"] in ready)]


def table_of(tasks: list[dict[str, Any]], answer: dict[str, Any]) -> Table:
    table = Table()
    for name in ("task", "operation", "status", "engine"):
        table.add_column(name, no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("data", overflow="fold")
    for task in tasks:
        result = answer["results"][task["operation_id"]]
        engine = (result["model"] or {}).get("engine") or "-"
        table.add_row(
            task["operation_id"],
            task["type"],
            result["status"],
            engine,
            f"{result['timing_ms']:.1f}",
            result["error_message"] or short_form(result),
        )
    return table


def short_form(result: dict[str, Any]) -> str:
    if result["items"] is not None:
        return f"{len(result['items'])} items: " + "; ".join(
            f"{item['bbox']}" + ("" if item["data"] == item["bbox"] else f" {_short(item['data'])}")
            for item in result["items"]
        )
    return "nothing found" if result["data"] is None else _short(result["data"])


def _short(data: Any) -> str:
    if isinstance(data, list) and len(data) > 8:
        norm = float(np.linalg.norm(data))
        return f"{len(data)} floats, norm {norm:.3f}: {data[0]:.4f}, {data[1]:.4f}, ..."
    if isinstance(data, dict):
        return ", ".join(f"{name}={_short(value)}" for name, value in data.items())[:110]
    return str(data)[:60]


def draw_boxes(photo: Path, tasks: list[dict[str, Any]], answer: dict[str, Any]) -> PIL.Image.Image:
    """The photo with every box, point and line of text that was found."""
    image = PIL.Image.open(photo).convert("RGB")
    draw = PIL.ImageDraw.Draw(image)
    names: dict[tuple[int, ...], list[str]] = {}
    for task in tasks:
        name, result = task["operation_id"], answer["results"][task["operation_id"]]
        for item in result["items"] or []:
            names.setdefault(tuple(item["bbox"]), []).append(name)
            for x, y in item["landmarks"] or []:
                draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill="#00e5ff")
        data = result["data"]
        box = data if task["type"] == "detect_bounding_box" else result["cropped_image_bbox"]
        if box:
            names.setdefault(tuple(box), []).append(name)
        if isinstance(data, dict):
            for line in [*data.get("lines", []), *data.get("codes", [])]:
                corners = [tuple(point) for point in line["polygon"]]
                draw.line([*corners, corners[0]], fill="#7dff6a", width=2)
    for (xmin, ymin, xmax, ymax), those in names.items():
        draw.rectangle((xmin, ymin, xmax - 1, ymax - 1), outline="#ffd400", width=2)
        label = ", ".join(those)
        place = draw.textbbox((xmin + 2, max(0, ymin - 14) if ymin else ymin + 2), label)
        draw.rectangle(place, fill="#202020")
        draw.text(place[:2], label, fill="#ffd400")
    return image


if __name__ == "__main__":
    main()
