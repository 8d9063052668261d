"""The command line. Nothing is imported before a command needs it, the other commands included."""

import click

from app.cli.lazy import Commands, LazyCommand
from app.cli.starting import unknown_settings

__all__ = ["main", "unknown_settings"]

# Where each command is, and what the list says of it: the first sentence of its own help.
_COMMANDS = {
    "analyze": ("app.cli.analyze:analyze", "Run tasks on images: files, URLs, and folders of images."),
    "bench": ("app.cli.bench:bench", "Measure how fast images are analysed."),
    "caption": ("app.cli.caption:caption", "Caption the images of a folder."),
    "classifiers": (
        "app.cli.classifiers:classifiers",
        "Classifiers of your own: train, list, show, promote, roll back, pin, and what to label next.",
    ),
    "completion": ("app.cli.completion:completion", "Print the script by which a shell completes words."),
    "doctor": ("app.cli.doctor:doctor", "Look whether all is here that a server needs."),
    "index": ("app.cli.index:index", "Bring the images of a folder into a collection."),
    "keys": ("app.cli.keys:keys", "The API keys of a server: make one."),
    "models": ("app.cli.models:models", "The weights of the models: list, pull, verify, remove."),
    "new-operation": (
        "app.cli.new_operation:new_operation",
        "Write a package with an operation of your own.",
    ),
    "operations": ("app.cli.operations:operations", "List the operations, or show one."),
    "plan": ("app.cli.plan:plan", "Show what tasks would run, without running them."),
    "search": ("app.cli.search:search", "Search a collection by an image, a text or one of its items."),
    "serve": ("app.cli.serve:serve", "Start the server."),
}


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sightgraph")
def main() -> None:
    """Sightgraph: tasks over one image, resolved into a shared graph."""


for _name, (_place, _help) in _COMMANDS.items():
    main.add_command(LazyCommand(_name, _place, _help))
