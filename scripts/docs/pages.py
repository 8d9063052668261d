"""The pages, and the parts in them that are generated."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_PART = re.compile(r"(<!-- generated: (?P<name>.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def renewed(pages: Mapping[Path, str], parts: Mapping[str, Callable[[], str]]) -> dict[Path, str]:
    """The texts of the pages with every generated part made anew.

    Raises:
        ClickException: a page has a part that nothing makes, or what is made is in no page.
    """
    used: set[str] = set()

    def made(found: re.Match[str]) -> str:
        name = found["name"]
        used.add(name)
        if name not in parts:
            raise click.ClickException(f"nothing makes the part '{name}'; there are: {', '.join(parts)}")
        return found[1] + parts[name]() + found[3]

    after = {page: _PART.sub(made, text) for page, text in pages.items()}
    for name in parts:
        if name not in used:
            raise click.ClickException(f"no page has the part: <!-- generated: {name} --> and <!-- end -->")
    return after
