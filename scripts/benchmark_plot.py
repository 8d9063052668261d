"""A benchmark of serving as a picture: throughput and p99 of every server, by scenario and concurrency."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

_COLOURS = ("#1f77b4", "#b0b0b0", "#ff7f0e")
_ROW, _LEFT, _TOP, _BAR, _GAP = 190, 110, 60, 26, 24


def plot(scenarios: Mapping[str, Any], file: Path) -> None:
    """Draw the scenarios that have a load, a row each."""
    rows = {name: found["servers"] for name, found in scenarios.items() if "servers" in found}
    servers = list(dict.fromkeys(server for row in rows.values() for server in row))
    levels = max((len(server["load"]) for row in rows.values() for server in row.values()), default=0)
    width = max(260, levels * (len(servers) * (_BAR + 10) + _GAP) + _GAP)
    image = PIL.Image.new("RGB", (_LEFT + 2 * width, _TOP + max(1, len(rows)) * _ROW), "white")
    draw = PIL.ImageDraw.Draw(image)
    font = PIL.ImageFont.load_default(14)
    colours = dict(zip(servers, _COLOURS, strict=False))
    for place, (server, colour) in enumerate(colours.items()):
        x = 10 + (_LEFT + 2 * width) // len(colours) * place
        draw.rectangle((x, 10, x + 14, 24), fill=colour)
        draw.text((x + 20, 9), server[:24], fill="black", font=font)
    for panel, title in enumerate(("images/s (more is better)", "p99 in ms (less is better)")):
        draw.text((_LEFT + panel * width, 34), title, fill="black", font=font)
    for row, (name, found) in enumerate(rows.items()):
        y = _TOP + row * _ROW
        draw.text((10, y + _ROW // 2), name, fill="black", font=font)
        for panel, key in enumerate(("throughput", "p99_ms")):
            values = {server: {n: load[key] for n, load in found[server]["load"].items()} for server in found}
            _bars(draw, (_LEFT + panel * width, y), values, colours)
    image.save(file)


def _bars(
    draw: PIL.ImageDraw.ImageDraw,
    corner: tuple[int, int],
    values: Mapping[str, Mapping[str, float | None]],
    colours: Mapping[str, str],
) -> None:
    """Bars by concurrency, one a server, each with its number."""
    font = PIL.ImageFont.load_default(11)
    x, floor = corner[0], corner[1] + _ROW - 30
    tallest = max((value or 0.0 for by in values.values() for value in by.values()), default=0.0) or 1.0
    for level in next(iter(values.values())):
        draw.text((x, floor + 4), f"{level} at once", fill="black", font=font)
        for server, by in values.items():
            value = by[level] or 0.0
            top = floor - round(value / tallest * (_ROW - 60))
            draw.rectangle((x, top, x + _BAR, floor), fill=colours[server])
            draw.text((x, top - 14), f"{value:,.{0 if value >= 100 else 1}f}", fill="black", font=font)
            x += _BAR + 10
        x += _GAP
    draw.line((corner[0], floor, x, floor), fill="black")
