"""What makes each generated part, by its name."""

from collections.abc import Callable

from scripts.docs import metrics, operations, tables, wire


def parts() -> dict[str, Callable[[], str]]:
    return {
        "operations": tables.operations,
        "engines": tables.engines,
        "settings": tables.settings,
        "metrics": metrics.metrics,
        "region params": operations.region_params,
        "reference of operations": operations.reference,
        **wire.endpoints(),
        "refusals": wire.refusals,
        "schemas": wire.schemas,
    }
