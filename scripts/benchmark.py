"""Measurements of Sightgraph, each beside what people would otherwise run, in the same run.

    benchmark.py operations     every operation with downloaded weights: time, memory, and what serving adds
    benchmark.py index          the similarity index: speed, recall, size and start-up
    benchmark.py serve          the server under load: latency, throughput, memory, overload
    benchmark.py memory         whether the server's memory grows

Models have their full size and seeded random weights, which cost the same time as trained ones.
"""

import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx
import PIL.Image
from benchmark_index import index
from benchmark_memory import memory
from benchmark_process import resident_bytes
from benchmark_serve import serve
from rich.console import Console
from rich.table import Table
from serving import serving, told_log

# On the whole image, or on the face that the real face detector finds: a random one finds no person.
TASKS: dict[str, dict[str, Any]] = {
    "detect_objects": {"min_confidence": 0.05},
    "embed_clip_vit_b_32": {},
    "embed_clip": {"model": "ViT-B-16-SigLIP2"},
    "classify_zero_shot": {"labels": ["cat", "dog", "person", "car"]},
    "embed_dino_v2": {},
    "embed_dino_v3": {},
    "embed_face": {"target": "prominent_face", "face_context": "whole_image"},
    "embed_auraface": {"target": "prominent_face", "face_context": "whole_image"},
    "describe_image": {"max_length": 20},
    "answer_question": {"question": "What is this?", "max_length": 5},
    "read_text": {"languages": ["en"]},
}


@dataclass(frozen=True, slots=True)
class Measured:
    """Milliseconds seen by the client, of the stage alone, and of the reference library's own call; resident
    bytes that the first request added."""

    first_ms: float
    client_ms: list[float]
    stage_ms: list[float]
    reference_ms: list[float]
    resident_bytes: int


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure Sightgraph beside what people would otherwise run."""


for command in (index, serve, memory):
    main.add_command(command)


@main.command()
@click.option(
    "--repeat",
    default=5,
    show_default=True,
    type=click.IntRange(1, 39),
    help="Requests measured for each operation.",
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(list(TASKS)),
    help="Only this operation; can be given several times.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the random weights are kept for the next run; a temporary folder by default.",
)
def operations(repeat: int, only: tuple[str, ...], data: Path | None) -> None:
    """Time and memory of every operation with downloaded weights, one request at a time."""
    console = Console(width=140)
    with tempfile.TemporaryDirectory() as scratch, serving_random(data or Path(scratch)) as (client, process):
        checkpoints = (data or Path(scratch)) / "random"
        console.print(f"{os.cpu_count()} cores, {platform.machine()}; random weights; {repeat} requests each")
        table = Table(
            "operation", "engine", "first s", "p50 ms", "max ms", "stage ms", "library ms", "ratio", "+MB"
        )
        for type_ in only or TASKS:
            engine, measured = measure(client, process, checkpoints, type_, repeat)
            table.add_row(type_, engine, *row_of(measured))
        console.print(table)
        console.print(f"resident at the end: {resident(process) / 1e6:,.0f} MB")


def measure(
    client: httpx.Client,
    process: "subprocess.Popen[bytes]",
    checkpoints: Path,
    type_: str,
    repeat: int,
) -> tuple[str, Measured]:
    params = TASKS[type_]
    before = resident(process)
    # Of its own photos, so that no stage comes from the cache.
    first = 40 * list(TASKS).index(type_)
    answer, first_ms = ask(client, photo(first), type_, params)
    added = resident(process) - before
    client_ms, stage_ms = [], []
    for number in range(1, repeat + 1):
        answer, ms = ask(client, photo(first + number), type_, params)
        client_ms.append(ms)
        stage_ms.append(answer["timing_ms"])
    engine: str = answer["model"]["engine"]
    reference_ms = timed_reference(type_, checkpoints / engine, repeat) if type_ in REFERENCES else []
    return engine, Measured(first_ms, client_ms, stage_ms, reference_ms, added)


def ask(
    client: httpx.Client, image: bytes, type_: str, params: dict[str, Any]
) -> tuple[dict[str, Any], float]:
    tasks = [{"operation_id": "t", "type": type_, "params": {**params, "crop_format": "none"}}]
    started = time.perf_counter()
    response = client.post(
        "/analyze_image_upload/", files={"image_file": image}, data={"tasks_json": json.dumps(tasks)}
    ).raise_for_status()
    ms = (time.perf_counter() - started) * 1000
    result: dict[str, Any] = response.json()["results"]["t"]
    if result["status"] != "success":
        raise click.ClickException(f"{type_}: {result['error_message']}")
    return result, ms


def row_of(measured: Measured) -> list[str]:
    p50 = statistics.median(measured.client_ms)
    reference = statistics.median(measured.reference_ms) if measured.reference_ms else None
    return [
        f"{measured.first_ms / 1000:.1f}",
        f"{p50:,.0f}",
        f"{max(measured.client_ms):,.0f}",
        f"{statistics.median(measured.stage_ms):,.0f}",
        "-" if reference is None else f"{reference:,.0f}",
        "-" if reference is None else f"{p50 / reference:.2f}",
        f"{measured.resident_bytes / 1e6:,.0f}",
    ]


def photo(number: int) -> bytes:
    """The sample photo, a little different each time, so that no answer comes from the cache."""
    from skimage import data

    pixels = data.astronaut().copy()
    pixels[0, : number + 1] = 255 - pixels[0, : number + 1]
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


@contextmanager
def serving_random(data: Path) -> Iterator[tuple[httpx.Client, "subprocess.Popen[bytes]"]]:
    """A server with random weights of full size; what it said is shown when it fails."""
    environment = {"SIGHTGRAPH_DATA": str(data), "SIGHTGRAPH_REQUEST_TIMEOUT": "600"}
    with told_log() as log:
        with serving(
            "--weights", "random", log=log, environment=environment, timeout=600, patience=300
        ) as served:
            yield served


def resident(process: "subprocess.Popen[bytes]") -> int:
    """Bytes of a process in memory; 0 where the system does not tell."""
    return resident_bytes(process.pid) or 0


def timed_reference(type_: str, folder: Path, repeat: int) -> list[float]:
    """Milliseconds of the library's own call, in a process of its own, while the server is idle."""
    command = [sys.executable, __file__, "reference", type_, str(folder), str(repeat)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    times: list[float] = json.loads(done.stdout.splitlines()[-1])
    return times


@main.command(hidden=True)
@click.argument("type_")
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.argument("repeat", type=int)
def reference(type_: str, folder: Path, repeat: int) -> None:
    """Time a library's own documented call on the same files, after one call that warms it up."""
    import torch

    call = REFERENCES[type_](folder)
    times = []
    with torch.inference_mode():
        for number in range(repeat + 1):
            file = io.BytesIO(photo(number))
            started = time.perf_counter()
            call(PIL.Image.open(file).convert("RGB"))
            times.append((time.perf_counter() - started) * 1000)
    click.echo(json.dumps(times[1:]))


Call = Callable[[PIL.Image.Image], Any]


def open_clip_call(folder: Path) -> Call:
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    return lambda image: model.encode_image(preprocess(image).unsqueeze(0))


def dino_call(folder: Path) -> Call:
    from transformers import AutoImageProcessor, AutoModel

    processor, model = AutoImageProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    return lambda image: model(**processor(image, return_tensors="pt")).last_hidden_state[:, 0]


def caption_call(folder: Path) -> Call:
    from transformers import BlipForConditionalGeneration, BlipProcessor

    processor = BlipProcessor.from_pretrained(folder)
    model = BlipForConditionalGeneration.from_pretrained(folder).eval()

    def call(image: PIL.Image.Image) -> Any:
        tokens = model.generate(
            **processor(image, return_tensors="pt"),
            max_new_tokens=TASKS["describe_image"]["max_length"],
            num_beams=1,
            do_sample=False,
        )
        return processor.decode(tokens[0], skip_special_tokens=True)

    return call


def detection_call(folder: Path) -> Call:
    from transformers import AutoImageProcessor, DFineForObjectDetection

    processor = AutoImageProcessor.from_pretrained(folder)
    model = DFineForObjectDetection.from_pretrained(folder).eval()

    def call(image: PIL.Image.Image) -> Any:
        outputs = model(**processor(images=image, return_tensors="pt"))
        return processor.post_process_object_detection(
            outputs, target_sizes=[(image.height, image.width)], threshold=0.05
        )

    return call


REFERENCES: dict[str, Callable[[Path], Call]] = {
    "embed_clip_vit_b_32": open_clip_call,
    "embed_dino_v2": dino_call,
    "embed_dino_v3": dino_call,
    "describe_image": caption_call,
    "detect_objects": detection_call,
}

if __name__ == "__main__":
    main()
