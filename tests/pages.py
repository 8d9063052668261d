"""The Markdown pages as tests see them: their blocks of code, headings, links and inline code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from scripts.docs.pages import PAGES, ROOT

_MARK = re.compile(r"<!-- not run: (.+?) -->")
_RUN_BY = re.compile(r"on this page is run by\s+`(tests/[\w/]+\.py)`")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
# What a command or a program answers is shown right under it.
_ANSWERS = ("json", "jsonl", "mermaid", "text")
_ASKING = ("bash", "python")


@dataclass(frozen=True)
class Block:
    """A block of code.

    `not_run` is the reason that stands before it as `<!-- not run: REASON -->`; `answer` is the block of what
    it answers, and `is_answer` tells such a block.
    """

    page: Path
    line: int
    heading: str
    language: str
    text: str
    not_run: str | None = None
    answer: "Block | None" = None
    is_answer: bool = False

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Page:
    path: Path
    blocks: tuple[Block, ...]
    anchors: frozenset[str]
    links: tuple[str, ...]
    codes: tuple[str, ...]
    """Inline code."""
    run_by: str | None
    """The tests that run a page which says so: "on this page is run by `tests/...`"."""

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))


@cache
def pages() -> tuple[Page, ...]:
    return tuple(map(page_of, PAGES))


def run_here() -> list[Block]:
    """The commands and programs that are run, in the order of the pages: a later one goes on from it."""
    return [
        block
        for page in pages()
        for block in page.blocks
        if block.language in _ASKING and block.not_run is None and page.run_by is None
    ]


def joined_lines(script: str) -> list[str]:
    """The lines of a script of the shell, those together that a backslash joins."""
    return script.replace("\\\n", " ").splitlines()


def page_of(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    spans = [child for token in tokens if token.type == "inline" for child in token.children or []]
    return Page(
        path,
        tuple(_blocks(path, tokens)),
        frozenset(_anchors(tokens)),
        tuple(_links(spans)),
        tuple(span.content for span in spans if span.type == "code_inline"),
        found[1] if (found := _RUN_BY.search(text)) else None,
    )


def _blocks(path: Path, tokens: list[Token]) -> Iterator[Block]:
    heading, mark = "", None
    asking: Block | None = None
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "fence":
            block = Block(path, (token.map or [0])[0] + 1, heading, token.info, token.content, mark)
            if asking is not None and block.language in _ANSWERS:
                answer = Block(path, block.line, heading, block.language, block.text, is_answer=True)
                yield Block(path, asking.line, heading, asking.language, asking.text, asking.not_run, answer)
                yield answer
                asking = None
                continue
            if asking is not None:
                yield asking
            asking = block if block.language in _ASKING else None
            if asking is None:
                yield block
            mark = None
            continue
        if asking is not None:
            yield asking
            asking = None
        if token.type == "heading_open":
            heading = after.content if after is not None else ""
        found = _MARK.fullmatch(token.content.strip()) if token.type == "html_block" else None
        mark = found[1] if found else None
    if asking is not None:
        yield asking


def _anchors(tokens: list[Token]) -> Iterator[str]:
    """The anchors of the headings, as GitHub and its kin make them."""
    seen: dict[str, int] = {}
    for token, after in pairwise(tokens):
        if token.type == "heading_open":
            slug = re.sub(r"[^\w\- ]", "", after.content.lower()).replace(" ", "-")
            number = seen[slug] = seen.get(slug, -1) + 1
            yield f"{slug}-{number}" if number else slug


def _links(spans: list[Token]) -> Iterator[str]:
    for span in spans:
        target = span.attrGet("href") if span.type == "link_open" else span.attrGet("src")
        if isinstance(target, str):
            yield target


def prose(path: Path) -> str:
    """The text of a page without its comments."""
    return _COMMENT.sub("", path.read_text(encoding="utf-8"))
