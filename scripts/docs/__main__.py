"""`python -m scripts.docs`: write the generated parts of the pages, or with --check find stale ones."""

import click

from scripts.docs.pages import PAGES, ROOT, renewed
from scripts.docs.parts import parts


@click.command()
@click.option("--check", is_flag=True, help="Fail when a part is stale instead of writing it.")
def main(check: bool) -> None:
    """Bring the generated parts of the README and of the pages in docs/ up to date."""
    before = {page: page.read_text(encoding="utf-8") for page in PAGES}
    after = renewed(before, parts())
    stale = [page for page in PAGES if before[page] != after[page]]
    if check and stale:
        names = ", ".join(str(page.relative_to(ROOT)) for page in stale)
        raise click.ClickException(f"stale: {names}; run `make docs`")
    for page in stale:
        page.write_text(after[page], encoding="utf-8")


if __name__ == "__main__":
    main()
