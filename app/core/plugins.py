"""Where installed packages say which operations they bring. Asking imports none of them."""

from importlib.metadata import entry_points

ENTRY_POINT_GROUP = "sightgraph.operations"


def plugin_modules() -> list[str]:
    """The modules of the installed plugins."""
    return [point.value.partition(":")[0] for point in entry_points(group=ENTRY_POINT_GROUP)]
