"""`sightgraph classifiers`: heads that people train themselves."""

import click

from app.cli.classifiers.convert import convert
from app.cli.classifiers.suggest import suggest
from app.cli.classifiers.train import train
from app.cli.classifiers.versions import list_classifiers, pin, promote, rollback, show, unpin


@click.group()
def classifiers() -> None:
    """Classifiers of your own: train, list, show, promote, roll back, pin, and what to label next."""


for command in (train, suggest, list_classifiers, show, promote, rollback, pin, unpin, convert):
    classifiers.add_command(command)
