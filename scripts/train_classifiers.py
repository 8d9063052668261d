"""Train a classifier for every collection of a source, as `sightgraph classifiers train` does."""

from app.cli.classifiers import train

if __name__ == "__main__":
    train()
