"""The models' weights: which are here, how large, under which licences, and which are damaged."""

from app.cli.doctor.finding import Findings, listed, ok, problem, size, warning
from app.cli.models import Inventory
from app.core.errors import ModelUnavailable
from app.core.operation import EngineSpec
from app.engines.files import WeightsState
from app.settings import Settings


def weights(settings: Settings, inventory: Inventory) -> Findings:
    try:
        inventory.store.check_record()
    except ModelUnavailable as error:
        yield problem("weights", str(error), f"It lies in {settings.data}, or where the settings say.")
        return
    bundled = [spec for spec in inventory.specs if spec not in inventory.kept]
    missing = [spec for spec in bundled if not inventory.store.present(spec)]
    for spec in missing:
        yield problem("weights", f"{spec.name} is not installed.", inventory.store.remedy(spec))
    here = [spec.name for spec in bundled if spec not in missing]
    yield ok("weights", f"In packages: {listed(here)}.")
    for spec in inventory.kept:
        yield from _of(spec, inventory)
    yield from _wanted(settings, inventory)


def to_come(settings: Settings, inventory: Inventory) -> list[EngineSpec]:
    """Of the weights that the settings want at the start those that are not here, one spec of each."""
    wanted = wanted_by(settings, inventory)
    return [spec for spec in wanted if not inventory.store.present(spec)]


def wanted_by(settings: Settings, inventory: Inventory) -> list[EngineSpec]:
    names = inventory.registry.public if "all" in settings.pull else settings.pull
    known = [name for name in names if name in inventory.registry.public]
    specs = [spec for name in known for spec in inventory.preferred_for(name, settings)]
    return list({spec.weights.id: spec for spec in specs}.values())


def _of(spec: EngineSpec, inventory: Inventory) -> Findings:
    store = inventory.store
    match store.state(spec):
        case WeightsState.ON_DISK:
            yield ok("weights", f"{spec.name}: {size(store.size_bytes(spec))}, {_licence(spec)}.")
        case WeightsState.DAMAGED:
            yield problem(
                "weights",
                f"{spec.name}: a file has another size than was recorded.",
                f"Run `sightgraph models pull {spec.weights.id}`, which fetches it anew.",
            )
        case WeightsState.PARTIAL:
            yield warning("weights", f"{spec.name}: a part of its files is here.", store.remedy(spec))


def memory_of_wanted(settings: Settings, inventory: Inventory, most: int | None) -> Findings:
    """Whether the wanted models find room together; a budget sees to it that they do."""
    together = sum(spec.memory_bytes or spec.weights.size_bytes for spec in wanted_by(settings, inventory))
    if most is not None and together > most and settings.memory_budget is None:
        yield warning(
            "memory",
            f"The models behind SIGHTGRAPH_PULL take about {size(together)} once all are loaded, and there "
            f"are {size(most)}.",
            "Set SIGHTGRAPH_MEMORY_BUDGET, beyond which the longest unused one is unloaded; or name fewer.",
        )


def _wanted(settings: Settings, inventory: Inventory) -> Findings:
    absent = to_come(settings, inventory)
    if not absent:
        return
    told = listed([_described(spec) for spec in absent])
    pull = f"`sightgraph models pull {' '.join(spec.weights.id for spec in absent)}`"
    if settings.offline:
        remedy = f"Run {pull} where the network may be used."
    else:
        remedy = f"A server downloads them when it starts; or run {pull} before."
    yield warning("weights", f"Wanted by SIGHTGRAPH_PULL, and not here: {told}.", remedy)


def _described(spec: EngineSpec) -> str:
    return f"{spec.name} ({size(spec.weights.size_bytes)}, {spec.licence})"


def _licence(spec: EngineSpec) -> str:
    # What has no SPDX identifier is written in words.
    return f"{spec.licence}, which asks to be read" if " " in spec.licence else spec.licence
