"""What the README and the pages in docs/ name is there: commands, files, settings, metrics, links, codes; and
what is generated in them is fresh."""

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from urllib.parse import urlsplit

import click
import pytest
import yaml

from app.cli import main
from app.cli.lazy import LazyCommand
from app.core import errors
from app.core.access import API_KEY_VARIABLE
from app.settings import Settings
from scripts.docs.metrics import families
from scripts.docs.pages import PAGES, ROOT, renewed
from scripts.docs.parts import parts
from scripts.docs.wire import endpoints
from tests.pages import Block, Page, joined_lines, pages, prose, run_here

BLOCKS = [block for page in pages() for block in page.blocks]
LANGUAGES = ("json", "jsonl", "toml", "yaml", "python")


@pytest.mark.parametrize("page", [page for page in pages() if page.run_by], ids=str)
def test_a_page_that_another_test_runs_is_known_to_it(page: Page):
    assert page.path.name in (ROOT / str(page.run_by)).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", pages(), ids=str)
def test_what_is_not_run_says_why_and_names_what_is_there(page: Page):
    for block in page.blocks:
        if block.not_run is not None:
            assert block.language in ("bash", "python"), f"{block}: only what could be run is marked"
            assert len(block.not_run) > 10, block
        if block.not_run is not None and block.language == "bash":
            for command in commands_in(block.text):
                check_command(command, block)
            for name in re.findall(r"\bdeploy/[\w./-]+", block.text):
                assert (ROOT / name).exists() or Path(name).suffix == ".env", f"{block}: {name}"


def commands_in(script: str) -> Iterator[list[str]]:
    """The words of every simple command."""
    for line in joined_lines(script):
        for part in re.split(r"&&|\|\||[|;]|\$\(", line):
            with suppress(ValueError):
                words = shlex.split(part, comments=True)
                yield list(words[len(list(takewhile(is_assignment, words))) :])


def is_assignment(word: str) -> bool:
    return re.match(r"[A-Z_]+=", word) is not None


def check_command(words: list[str], where: object) -> None:
    """A command of ours that is not run exists, with its options."""
    if words[:1] == ["make"]:
        named = [word for word in words[1:] if re.fullmatch(r"[a-z]+", word)]
        assert set(named) <= make_targets(), f"{where}: {' '.join(words)}"
    if words[:1] != ["sightgraph"]:
        return
    command: click.Command = main
    context = click.Context(command)
    rest = words[1:]
    while isinstance(command, click.Group) and rest and re.fullmatch(r"[a-z][a-z-]*", rest[0]):
        found = command.get_command(context, rest[0])
        assert found is not None, f"{where}: there is no command '{' '.join(words)}'"
        command = found.loaded if isinstance(found, LazyCommand) else found
        context, rest = click.Context(command, parent=context), rest[1:]
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    for word in rest:
        option = word.partition("=")[0]
        if re.fullmatch(r"--[a-z][a-z-]*", option):
            assert option in {*known, "--help", "--version"}, f"{where}: {' '.join(words)}"


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^(\w+):", makefile, flags=re.MULTILINE))


@pytest.mark.parametrize("page", pages(), ids=str)
def test_what_the_prose_names_is_there(page: Page):
    for text in page.codes:
        if text.startswith(("make ", "sightgraph ")):
            check_command(text.split(), f"{page}: `{text}`")
        elif re.fullmatch(r"(app|classifiers|deploy|docs|openspec|operations|scripts|tests)/[\w./-]*", text):
            assert (ROOT / text).exists() or text.endswith(".env"), f"{page}: `{text}`"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_setting_and_metric_that_is_named_exists(path):
    settings = {f"SIGHTGRAPH_{name.upper()}" for name in Settings.model_fields} | {API_KEY_VARIABLE}
    assert set(re.findall(r"\bSIGHTGRAPH_[A-Z_]+[A-Z]\b", prose(path))) <= settings
    metrics = {family.name for family in families()}
    for name in re.findall(r"`(sightgraph_[a-z_]+)`", prose(path)):
        assert re.sub(r"_(total|bucket|sum|count)$", "", name) in metrics, name


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_link_leads_somewhere(page: Page):
    anchors = {each.path: each.anchors for each in pages()}
    for target in page.links:
        parts = urlsplit(target)
        if parts.scheme:
            assert parts.scheme == "https", target
            assert "." in parts.netloc, target
            continue
        path = (page.path.parent / parts.path).resolve() if parts.path else page.path
        assert path.exists(), f"{page}: {target}"
        if parts.fragment:
            assert parts.fragment in anchors[path], f"{page}: {target}"


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.language in ("json", "jsonl", "toml", "yaml", "python")],
    ids=str,
)
def test_a_block_is_of_its_language(block: Block):
    match block.language:
        case "json":
            json.loads(block.text)
        case "jsonl":
            for line in block.text.splitlines():
                json.loads(line)
        case "toml":
            tomllib.loads(block.text)
        case "yaml":
            yaml.safe_load(block.text)
        case "python":
            ast.parse(block.text)


def test_every_endpoint_has_a_request_that_is_run():
    shown = {
        re.sub(r"(?<=.)/$", "", block.heading)
        for block in run_here()
        if block.page.name == "wire.md" and block.language == "bash" and block.answer is not None
    }
    assert endpoints().keys() <= shown


def test_the_generated_parts_are_fresh():
    before = {path: path.read_text(encoding="utf-8") for path in PAGES}
    for path, text in renewed(before, parts()).items():
        assert text == before[path], f"{path.name} is stale: run `make docs`"


def test_a_stale_part_is_noticed():
    page = ROOT / "docs" / "operations.md"
    fresh = {path: path.read_text(encoding="utf-8") for path in PAGES}
    stale = {**fresh, page: fresh[page].replace("### read_codes\n", "### read_codex\n")}
    assert stale != fresh
    assert renewed(stale, parts()) == fresh


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<!-- generated: novels -->\n<!-- end -->", "nothing makes the part 'novels'"),
        ("", "no page has the part: <!-- generated: a -->"),
    ],
)
def test_a_part_that_is_unknown_or_missing_is_told(text, told):
    with pytest.raises(click.ClickException, match=told):
        renewed({Path("page.md"): text}, {"a": lambda: "b\n"})


def test_every_error_code_is_explained():
    page = prose(ROOT / "docs" / "wire.md")
    leaves = [leaf for kind in errors.TaskError.__subclasses__() for leaf in kind.__subclasses__()]
    assert leaves
    for leaf in leaves:
        assert f"`{leaf.code}`" in page, leaf.code
