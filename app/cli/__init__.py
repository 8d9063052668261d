"""The command line. Nothing heavy is imported before a command needs it."""

import click

from app.cli import index, keys, models, search, serve
from app.cli.classifiers import classifiers
from app.cli.starting import unknown_settings

__all__ = ["main", "unknown_settings"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sightgraph")
def main() -> None:
    """Sightgraph: tasks over one image, resolved into a shared graph."""


main.add_command(serve.serve)
main.add_command(models.models)
main.add_command(index.index)
main.add_command(search.search)
main.add_command(keys.keys)
main.add_command(classifiers)
