"""Python, the cores and the memory."""

import platform

from app.cli.doctor.finding import Findings, ok, problem, size, warning
from app.cli.doctor.limits import Limits, container_limits, most_memory
from app.settings import Settings

# What a server takes with the models that ship in packages.
LEAST_MEMORY = 1_500_000_000


def machine(settings: Settings | None) -> Findings:
    yield ok(
        "system",
        f"Python {platform.python_version()}, {platform.system()} {platform.release()} on "
        f"{platform.machine()}.",
    )
    limits = container_limits()
    yield from cores(settings, limits)
    yield from memory(settings, limits, most_memory(limits))


def cores(settings: Settings | None, limits: Limits) -> Findings:
    here = Settings.model_fields["lanes"].get_default(call_default_factory=True)
    lanes, threads = (here, 1) if settings is None else (settings.lanes, settings.threads)
    fitting = max(1, round(min(here, limits.cores or here)))
    told = f"{here} cores" + (f", of which the container may use {limits.cores:g}" if limits.cores else "")
    told += f"; {lanes} lanes of {threads} thread{'' if threads == 1 else 's'}"
    if lanes * threads > fitting:
        yield warning(
            "cores",
            f"{told} take turns on them, and every answer takes longer.",
            f"Set SIGHTGRAPH_LANES={max(1, fitting // threads)}.",
        )
    else:
        yield ok("cores", f"{told} compute at once.")


def memory(settings: Settings | None, limits: Limits, most: int | None) -> Findings:
    if most is None:
        yield ok("memory", "This system does not tell how much memory it has.")
        return
    told = size(most) + (" (the container's limit)" if most == limits.memory_bytes else "")
    budget = None if settings is None else settings.memory_budget
    if most < LEAST_MEMORY:
        yield problem(
            "memory",
            f"{told}; a server takes about {size(LEAST_MEMORY)} with the models that ship in packages.",
            "Give the machine or the container more memory.",
        )
    elif budget is not None and budget > most:
        yield warning(
            "memory",
            f"{told}, and SIGHTGRAPH_MEMORY_BUDGET lets loaded models take {size(budget)}.",
            f"Set it below {most - LEAST_MEMORY}, so that the rest of the server has room.",
        )
    elif limits.free_bytes is not None and limits.free_bytes < LEAST_MEMORY:
        yield warning(
            "memory",
            f"{told}, of which {size(limits.free_bytes)} are free; a server takes about "
            f"{size(LEAST_MEMORY)}.",
            "End what else takes memory, or a server that runs already.",
        )
    else:
        free = "" if limits.free_bytes is None else f", {size(limits.free_bytes)} free"
        yield ok("memory", f"{told}{free}.")
