"""`sightgraph models`: what weights are here, and getting, checking and removing them."""

import difflib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from app.cli.starting import declarations_told, read_settings

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from app.core.operation import EngineSpec
    from app.core.registry import Registry
    from app.engines.store import LocalStore
    from app.settings import Settings


@click.group()
def models() -> None:
    """The weights of the models: list, pull, verify, remove."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(as_json: bool) -> None:
    """Every engine with its weights, and whether they are on this machine.

    Sizes on the disk are looked at, not the contents: `verify` reads those.
    """
    inventory = _inventory(read_settings())
    rows = [_row(inventory, spec) for spec in inventory.specs]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("engine", "weights", "serves", "size", "licence", "state", "commit"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        size = decimal(row["size_bytes"]) if row["size_bytes"] else ""
        serves = ", ".join(row["operations"])
        table.add_row(
            row["engine"], row["weights"], serves, size, row["licence"], row["state"], row["commit"][:7]
        )
    # Into a pipe it must not be folded.
    Console(width=None if sys.stdout.isatty() else 240).print(table)


@models.command()
@click.argument("names", metavar="[IDS]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All weights that can be downloaded.")
@click.option(
    "--for",
    "operations",
    multiple=True,
    metavar="OPERATION",
    help="What an operation needs with its preferred engines. May be given several times.",
)
@click.option("--offline", is_flag=True, help="Fetch nothing, and fail for what is not here and right.")
def pull(names: tuple[str, ...], everything: bool, operations: tuple[str, ...], offline: bool) -> None:
    """Download weights: by their id, or by the name of an engine.

    A pull that is interrupted goes on where it stopped. Weights that are here stay at their commit; files
    that are damaged are fetched anew. SIGHTGRAPH_PINNED_WEIGHTS names the record, weights.json, of another
    machine: then exactly its commits and contents are accepted.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from app.core.errors import ModelUnavailable

    settings = read_settings(offline=offline)
    inventory = _inventory(settings)
    chosen = {spec.weights.id for spec in inventory.kept if everything}
    chosen |= {spec.weights.id for spec in inventory.named(names)}
    chosen |= {spec.weights.id for name in operations for spec in inventory.preferred_for(name, settings)}
    if not chosen and not operations:
        raise click.UsageError(f"Name weights, --for OPERATION or --all. There are: {inventory.choices}.")
    problems = []
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        for weights_id in sorted(chosen):
            task = bars.add_task(weights_id, total=None)
            try:
                for spec in inventory.of(weights_id):
                    inventory.store.pull(spec, _Bar(bars, task))
            except ModelUnavailable as error:
                bars.remove_task(task)
                problems.append(str(error))
            else:
                click.echo(f"{weights_id}: {_what_is_here(inventory, weights_id)}")
    _tell(problems)


@models.command()
@click.argument("names", metavar="[IDS]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(names: tuple[str, ...], as_json: bool) -> None:
    """Read the files of weights that are here, and compare them with what is recorded.

    Without IDS, of all of them.
    """
    from app.core.errors import ModelUnavailable

    inventory = _inventory(read_settings())
    chosen = inventory.named(names) if names else [spec for spec in inventory.kept if inventory.has_any(spec)]
    problems = []
    rows = []
    for spec in {spec.weights: spec for spec in chosen}.values():
        try:
            found = inventory.store.verify(spec)
        except ModelUnavailable as error:
            raise click.ClickException(str(error)) from None
        rows.append({"weights": spec.weights.id, "problems": [str(problem) for problem in found]})
        problems += [f"{spec.weights.id}: {problem}." for problem in found]
        if found:
            problems.append(f"{spec.weights.id}: run `sightgraph models pull {spec.weights.id}`.")
        elif not as_json:
            click.echo(f"{spec.weights.id}: every file is right")
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    elif not chosen:
        click.echo("No downloaded weights are here.")
    _tell(list(dict.fromkeys(problems)))


@models.command()
@click.argument("names", metavar="IDS...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(names: tuple[str, ...], yes: bool) -> None:
    """Delete weights from this machine.

    Of a Hugging Face repository its commit is deleted from the cache, also for other tools. Files that other
    weights use as well stay.
    """
    from rich.filesize import decimal

    from app.core.errors import ModelUnavailable

    inventory = _inventory(read_settings())
    chosen = {spec.weights.id: spec for spec in inventory.named(names)}
    if not yes:
        size = decimal(sum(inventory.store.size_bytes(spec) for spec in chosen.values()))
        click.confirm(f"Delete {', '.join(chosen)}, about {size}?", abort=True)
    problems = []
    for weights_id, spec in chosen.items():
        try:
            freed = inventory.store.remove(spec, inventory.kept)
        except ModelUnavailable as error:
            problems.append(str(error))
        else:
            click.echo(f"{weights_id}: {decimal(freed)} freed" if freed else f"{weights_id}: nothing is here")
    _tell(problems)


@dataclass(frozen=True)
class Inventory:
    """The engines of this installation, and their weights on this machine."""

    registry: "Registry"
    store: "LocalStore"

    @property
    def specs(self) -> "list[EngineSpec]":
        return [spec for _, spec in sorted(self.registry.engines.items())]

    @property
    def kept(self) -> "list[EngineSpec]":
        """Those whose weights are downloaded."""
        from app.engines.weights import Bundled

        return [spec for spec in self.specs if not isinstance(spec.weights, Bundled)]

    @property
    def choices(self) -> str:
        return ", ".join(sorted({spec.weights.id for spec in self.kept})) or "none that are downloaded"

    def of(self, weights_id: str) -> "list[EngineSpec]":
        """The engines of these weights; of those that use the same files, one."""
        return list({spec.weights: spec for spec in self.kept if spec.weights.id == weights_id}.values())

    def has_any(self, spec: "EngineSpec") -> bool:
        from app.engines.files import WeightsState

        return self.store.state(spec) is not WeightsState.ABSENT

    def named(self, names: Iterable[str]) -> "list[EngineSpec]":
        """The engines of these ids of weights or with these names.

        Raises:
            UsageError: there is none, or its weights are not downloaded.
        """
        found = []
        for name in names:
            specs = [spec for spec in self.specs if name in (spec.weights.id, spec.name)]
            if not specs:
                raise click.UsageError(self._unknown(name))
            kept = [spec for spec in specs if spec in self.kept]
            if not kept:
                raise click.UsageError(
                    f"'{name}' ships in the package {specs[0].weights.id}, and stays with it."
                )
            found += kept
        return found

    def preferred_for(self, name: str, settings: "Settings") -> "list[EngineSpec]":
        """The preferred engine of every stage behind an operation, where its weights are downloaded.

        Raises:
            UsageError: there is no such operation.
        """
        from app.core.catalog import stages_behind
        from app.core.errors import UnsupportedOperation
        from app.main import preferences
        from app.runtime.pool import Pool

        try:
            operation = self.registry.find(name)
        except UnsupportedOperation as error:
            raise click.UsageError(str(error)) from None
        with declarations_told():
            pool = Pool(1, self.store, preferences=preferences(settings, self.registry))
        candidates = [pool.candidates(stage, params) for stage, params in stages_behind(operation)]
        return [specs[0] for specs in candidates if specs and specs[0] in self.kept]

    def _unknown(self, name: str) -> str:
        known = {known.lower(): known for spec in self.kept for known in (spec.weights.id, spec.name)}
        near = [known[lower] for lower in difflib.get_close_matches(name.lower(), known, n=1)]
        hint = f"Did you mean '{near[0]}'?" if near else f"There are: {self.choices}."
        return f"No weights and no engine are called '{name}'. {hint}"


def _inventory(settings: "Settings") -> Inventory:
    from app.core.errors import ModelUnavailable
    from app.core.registry import discover
    from app.main import local_store

    store = local_store(settings)
    try:
        store.check_record()
    except ModelUnavailable as error:
        raise click.ClickException(f"{error} It lies in {settings.data}.") from None
    with declarations_told():
        return Inventory(discover("operations"), store)


class _Bar:
    """Shows the progress of one pull, with the rate of what really comes."""

    def __init__(self, bars: "Progress", task: "TaskID") -> None:
        self._bars = bars
        self._task = task
        self._started = False

    def __call__(self, done: int, total: int) -> None:
        if self._started:
            self._bars.update(self._task, completed=done, total=total)
        else:
            # What an earlier pull had already brought is not part of the rate.
            self._bars.reset(self._task, completed=done, total=total)
            self._started = True


def _row(inventory: Inventory, spec: "EngineSpec") -> dict[str, Any]:
    from app.core.catalog import operations_of

    store = inventory.store
    return {
        "engine": spec.name,
        "weights": spec.weights.id,
        "operations": operations_of(spec, inventory.registry),
        "size_bytes": store.size_bytes(spec),
        "licence": spec.licence,
        "state": str(store.state(spec)),
        "commit": store.commit(spec),
        "source": store.source(spec),
    }


def _what_is_here(inventory: Inventory, weights_id: str) -> str:
    from rich.filesize import decimal

    spec = inventory.of(weights_id)[0]
    commit = inventory.store.commit(spec)
    return f"{decimal(inventory.store.size_bytes(spec))} here{f', commit {commit[:7]}' if commit else ''}"


def _tell(problems: Sequence[str]) -> None:
    """Say what went wrong, last, and end with failure if anything did."""
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(1)
