"""Caption the images of a folder by a server that runs: `sightgraph caption` with fewer options."""

from pathlib import Path

import click

from app.cli.caption import caption_folder
from app.cli.captioning import Wording
from app.cli.connection import checked_url, refusals_told


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--force", "-f", is_flag=True, help="Write the texts anew that are there.")
@click.option("--max-length", type=click.IntRange(min=1), help="Tokens of a caption at most.")
@click.option(
    "--server",
    default="http://127.0.0.1:8000",
    show_default=True,
    metavar="URL",
    callback=checked_url,
    help="The running server.",
)
@refusals_told
def main(folder: Path, force: bool, max_length: int | None, server: str) -> None:
    """Write captions of the images in FOLDER, NAME.txt beside NAME.jpg; those that have a text are left."""
    caption_folder(folder, Wording(max_length), force=force, server=server)


if __name__ == "__main__":
    main()
