"""What a training run came to, as the command tells it."""

import shlex
from typing import TYPE_CHECKING

import click

from app.cli.printing import print_table, printable

if TYPE_CHECKING:
    from classifiers.rows import TrainingSet
    from classifiers.run import RunSummary

# Of the figures that a card holds, in the order in which they are looked at.
_FIGURES = (
    "macro_precision",
    "average_precision",
    "balanced_accuracy",
    "macro_recall",
    "macro_f1",
    "log_loss",
)


def print_summary(summary: "RunSummary", training_set: "TrainingSet") -> None:
    from classifiers.threshold import told

    card = summary.card
    rows = len(training_set.rows)
    embeddings = " + ".join(embedding.operation for embedding in card.embeddings)
    test = sum(card.data.sides.get("test", {}).values())
    click.echo(
        printable(
            f"{summary.collection}: {rows:,} rows of {', '.join(card.labels)}; {embeddings} of "
            f"{card.target}; {card.model.kind}; judged by {test:,} rows that were held out"
        )
    )
    print_table(
        ("figure", "value", "interval"),
        [
            (name.replace("_", " "), f"{figure.value:.4f}", f"{figure.low:.4f} to {figure.high:.4f}")
            for name in _FIGURES
            if (figure := card.metrics.get(name)) is not None
        ],
    )
    if card.threshold is not None:
        click.echo(printable(told(card.threshold, card.positive or "", card.metrics)))
    for note in training_set.notes:
        click.echo(printable(note))
    for embedding, space in zip(card.embeddings, card.spaces, strict=True):
        if space is None:
            click.echo(
                f"The space of the vectors of {embedding.operation} is not known: whether a server makes the "
                f"same ones nobody checks. --space {embedding.operation}=SPACE states it."
            )
    decision = "promoted" if summary.promoted else "not promoted"
    click.echo(printable(f"Version {summary.version}, {decision}: {summary.reason}"))
    if not summary.promoted:
        command = ["sightgraph", "classifiers", "promote", summary.collection, summary.version]
        click.echo(printable(f"To put it in service: {shlex.join(command)}"))
    stages = ", ".join(f"{stage} {taken:.1f}" for stage, taken in summary.seconds.items())
    click.echo(f"Seconds: {sum(summary.seconds.values()):.1f} ({stages})")
    click.echo(f"Report: {summary.report}\n")
