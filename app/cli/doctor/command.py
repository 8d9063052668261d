"""The command: examines, prints, and ends with failure where something is wrong."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from app.cli.connection import checked_url
from app.cli.doctor.finding import Examination, Finding, Level, listed, ok, problem, worst
from app.cli.printing import printable, table_console

if TYPE_CHECKING:
    from app.core.registry import Registry
    from app.settings import Settings

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}


@click.command()
@click.option("--server", metavar="URL", callback=checked_url, help="Look at a server that runs instead.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address that a server would have.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Its port.")
@click.option("--offline", is_flag=True, help="Keep off the network; the hub is not asked.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(server: str | None, host: str, port: int, offline: bool, as_json: bool) -> None:
    """Look whether all is here that a server needs.

    Where it is not, what to do is said; nothing is changed. The code is 1 when there is a problem; warnings
    do not count.
    """
    if server is not None:
        from app.cli.doctor.running import running

        examinations: list[tuple[str, Examination]] = [("server", lambda: running(server))]
    else:
        examinations = list(_of_this_machine(host, port, offline))
    findings = []
    for topic, examination in examinations:
        for finding in _guarded(topic, examination):
            findings.append(finding)
            if not as_json:
                _print(finding)
    if as_json:
        import json

        checks = [finding.as_json() for finding in findings]
        click.echo(json.dumps({"status": str(worst(findings)), "checks": checks}, indent=1))
    else:
        click.echo(_summary(findings))
    sys.exit(1 if worst(findings) is Level.PROBLEM else 0)


def _of_this_machine(host: str, port: int, offline: bool) -> Iterator[tuple[str, Examination]]:
    from app.cli.doctor import configuration, devices, libraries, machine, network

    settings, wrong = configuration.read(offline)
    yield "machine", lambda: machine.machine(settings)
    yield "packages", libraries.libraries
    yield "device", lambda: devices.devices(settings)
    yield "settings", lambda: configuration.configuration(settings, wrong)
    if settings is not None:
        yield "weights", lambda: _what_is_kept(settings)
    yield "port", lambda: network.port(host, port)
    yield "model hub", lambda: network.hub(settings)


def _what_is_kept(settings: "Settings") -> Iterator[Finding]:
    """What depends on the operations that there are."""
    from app.cli.doctor import configuration, places, weights
    from app.cli.doctor.limits import container_limits, most_memory
    from app.cli.models import Inventory
    from app.core.errors import RegistryError
    from app.core.registry import discover
    from app.main import local_store

    coming = 0
    try:
        registry = discover("operations")
    except RegistryError as error:
        yield problem(
            "operations",
            f"{error}.",
            "A server does not start with it: mend the file, or uninstall the package that brings it.",
        )
    else:
        yield _operations(registry)
        yield from configuration.named_operations(settings, registry)
        inventory = Inventory(registry, local_store(settings))
        most = most_memory(container_limits())
        yield from _guarded("weights", lambda: weights.weights(settings, inventory))
        yield from _guarded("memory", lambda: weights.memory_of_wanted(settings, inventory, most))
        # What cannot be looked at is told above.
        with contextlib.suppress(OSError):
            coming = sum(spec.weights.size_bytes for spec in weights.to_come(settings, inventory))
    for topic, examination in places.places(settings, 0 if settings.offline else coming):
        yield from _guarded(topic, examination)


def _operations(registry: "Registry") -> Finding:
    own = [operation for operation in registry.public.values() if operation.module.startswith("operations.")]
    plugins = [name for name, operation in registry.public.items() if operation not in own]
    added = f", and {listed(plugins)} of plugins" if plugins else ""
    return ok("operations", f"{len(own)} that ship with Sightgraph{added}.")


def _guarded(topic: str, examination: Examination) -> Iterator[Finding]:
    """What an examination finds; also that it failed itself, on a machine that is not in order."""
    try:
        yield from examination()
    except PermissionError as error:
        yield problem(
            topic,
            f"{error.filename or 'Something'} cannot be looked at ({error.strerror}).",
            "Give this user the right to it.",
        )
    except Exception as error:
        told = f"{type(error).__name__}: {error}".partition("\n")[0]
        yield problem(
            topic,
            f"This could not be looked at: {told}",
            "Where that is about your machine, mend it there; else report it, with this line.",
        )


def _print(finding: Finding) -> None:
    from rich.text import Text

    console = table_console()
    line = Text(f"{finding.level!s:<8} ", style=_COLOURS[finding.level])
    line.append(f"{finding.topic:<12} ", style="default")
    line.append(printable(finding.message), style="default")
    console.print(line, soft_wrap=True)
    if finding.remedy:
        console.print(Text(f"{'':<22}{printable(finding.remedy)}", style="dim"), soft_wrap=True)


def _summary(findings: Sequence[Finding]) -> str:
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    bad, dubious = counts[Level.PROBLEM], counts[Level.WARNING]
    if not bad and not dubious:
        return "All is well."
    return f"{bad} problem{'' if bad == 1 else 's'}, {dubious} warning{'' if dubious == 1 else 's'}."
