"""Serving, beside the bare models, a plain sequential server, and any other with the same endpoints.

What is compared takes turns in the same run, so that other work on the machine falls on all of it.
"""

import asyncio
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import click
from benchmark_figures import ratios
from benchmark_measuring import TURNS, Measuring, serving_ours
from benchmark_memory import environment_of_mixed, mixed, require_right
from benchmark_plot import plot
from benchmark_report import print_ratios, print_scenario
from benchmark_scenarios import PERSONS, SCENARIOS
from rich.console import Console
from serving import told_log

MIXED = "mixed"


@click.command()
@click.option(
    "--scenario",
    "names",
    multiple=True,
    default=(*SCENARIOS, MIXED),
    show_default="all",
    type=click.Choice([*SCENARIOS, MIXED]),
    help="What is asked; can be given several times.",
)
@click.option(
    "--concurrency",
    multiple=True,
    default=(1, 8, 32),
    show_default=True,
    type=click.IntRange(1, 64),
    help="Requests at once; can be given several times.",
)
@click.option(
    "--duration",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds for which each server is asked at each concurrency.",
)
@click.option(
    "--overload/--no-overload",
    default=True,
    show_default=True,
    help="Also ask four times as often as can be answered.",
)
@click.option(
    "--deadline",
    default=20.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds that a request has when more come than can be answered.",
)
@click.option("--against", help="The URL of another server with the same endpoints.")
@click.option(
    "--weights",
    type=click.Choice(["real", "random"]),
    help="By default the real ones where all are on this machine, else random ones of full size.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the random weights are kept for the next run; a temporary folder by default.",
)
@click.option("--seed", default=1, show_default=True, help="Of images and arrivals.")
@click.option("--json", "json_file", type=click.File("w", lazy=True), help="Write all figures to a file.")
@click.option("--plot", "plot_file", type=click.Path(dir_okay=False, path_type=Path), help="Draw a PNG.")
def serve(
    names: tuple[str, ...],
    concurrency: tuple[int, ...],
    duration: float,
    overload: bool,
    deadline: float,
    against: str | None,
    weights: str | None,
    data: Path | None,
    seed: int,
    json_file: IO[str] | None,
    plot_file: Path | None,
) -> None:
    """The server under load, beside a plain one and the bare models."""
    console = Console(width=150)
    weights = weights or weights_here(names)
    console.print(
        f"{os.cpu_count()} cores, {platform.machine()}; {weights} weights; {duration:g} s at each "
        f"concurrency in {TURNS} turns; persons by {PERSONS}. The load comes from one Python process on the "
        "same cores."
    )
    scenarios: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        environment = {
            "SIGHTGRAPH_DATA": str(data or Path(scratch)),
            "SIGHTGRAPH_WEIGHTS": weights,
            "SIGHTGRAPH_REQUEST_TIMEOUT": "600",
            # With random weights any other finds nobody.
            "SIGHTGRAPH_ENGINES": f"detect_bounding_box={PERSONS}",
        }
        for name in dict.fromkeys(names):
            with told_log() as log:
                if name == MIXED:
                    with serving_ours(environment | environment_of_mixed(), log) as server:
                        scenarios[name] = asyncio.run(mixed(server, seed, seconds=duration))
                else:
                    scenario = SCENARIOS[name] if overload else replace(SCENARIOS[name], overload=False)
                    measuring = Measuring(scenario, sorted(set(concurrency)), duration, deadline, seed)
                    scenarios[name] = measuring.run(environment, against, log)
            print_scenario(console, name, scenarios[name])
    figures: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "architecture": platform.machine()},
        "weights": weights,
        "duration_seconds": duration,
        "seed": seed,
        "scenarios": scenarios,
        "ratios": ratios(scenarios),
    }
    print_ratios(console, figures["ratios"])
    if json_file is not None:
        json.dump(figures, json_file, indent=1)
    if plot_file is not None:
        plot(scenarios, plot_file)
    if MIXED in scenarios:
        require_right(scenarios[MIXED])
    wrong = [name for name, each in scenarios.items() if not each.get("agreement", {}).get("holds", True)]
    if wrong:
        raise click.ClickException(f"ours and the plain server answer differently: {', '.join(wrong)}")


def weights_here(names: Sequence[str]) -> str:
    """`real` where the weights of all engines are on this machine, else `random`."""
    from app.core.registry import discover
    from app.main import local_store
    from app.settings import Settings

    store, specs = local_store(Settings()), discover("operations").engines
    engines = {engine for name in names if name != MIXED for engine in SCENARIOS[name].engines}
    return "real" if all(store.present(specs[engine]) for engine in engines) else "random"
