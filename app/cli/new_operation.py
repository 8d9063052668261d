"""`sightgraph new-operation`: a plugin package with one operation, to begin from."""

import builtins
import keyword
import re
import shlex
import shutil
import sys
from importlib.resources import files
from pathlib import Path
from string import Template

import click

from app.cli.printing import printable
from app.cli.starting import declarations_told

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST_NAME = 60
# What the generated file itself calls something else; its classes have the operation's name with capitals.
_TAKEN_BY_THE_FILE = frozenset({"image", "needs", "operation", "params"})
_CLASSES_TAKEN_BY_THE_FILE = frozenset({"Crop", "Data", "IMAGE", "Needs", "Params", "Sequence"})

# The templates by the paths of the files that they become.
_FILES = {
    "pyproject.toml": "pyproject.toml",
    "$module.py": "operation.py",
    "tests/test_$name.py": "test_operation.py",
    "openspec/specs/$kebab/spec.md": "spec.md",
}


@click.command("new-operation")
@click.argument("name")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="The folder of the package, which is made.  [default: sightgraph-NAME, here]",
)
def new_operation(name: str, folder: Path | None) -> None:
    """Write a package with an operation of your own.

    It has one file, a test and a spec. NAME is the type that tasks will give, such as measure_blur. The
    package works as it is written: once it is installed beside Sightgraph, the server has the operation.
    """
    _check(name)
    names = _names(name)
    folder = folder or Path(names["distribution"])
    written = [Template(path).substitute(names) for path in _FILES]
    texts = {path: _text(template, names) for path, template in zip(written, _FILES.values(), strict=True)}
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise click.ClickException(
            f"{_shown(folder)} is there already. Name another folder by --folder."
        ) from None
    except OSError as error:
        raise click.ClickException(f"{_shown(folder)} cannot be made ({error.strerror}).") from None
    try:
        for path, text in texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise click.ClickException(f"{_shown(folder)} cannot be written ({error.strerror}).") from None
    for path in written:
        click.echo(_shown(folder / path))
    click.echo(_next_steps(folder), err=True)


def _check(name: str) -> None:
    """Whether an operation can be called so.

    Raises:
        BadParameter: it cannot, with the reason.
    """
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        proposed = "_".join(re.findall("[a-z0-9]+", _in_words(name).lower()))[:_LONGEST_NAME].strip("_")
        hint = f" Did you mean '{proposed}'?" if _NAME.fullmatch(proposed) else ""
        raise _refused(
            f"'{printable(name)}' is no name of an operation: small letters, digits and single underscores, "
            f"a letter first, {_LONGEST_NAME} at most, such as measure_blur.{hint}"
        )
    from app.core.registry import discover

    with declarations_told():
        there = discover("operations").get(name)
    if there is not None:
        raise _refused(f"There is an operation '{name}' already, in {there.module}. Choose another name.")
    taken = _TAKEN_BY_THE_FILE | _CLASSES_TAKEN_BY_THE_FILE
    if any(
        keyword.iskeyword(each) or hasattr(builtins, each) or each in taken for each in (name, _camel(name))
    ):
        raise _refused(
            f"'{name}' means something else in Python or in the file. Say what it does: {name}_..."
        )


def _refused(message: str) -> click.BadParameter:
    return click.BadParameter(message, param_hint="NAME")


def _in_words(name: str) -> str:
    """`measureBlur` as `measure Blur`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _names(name: str) -> dict[str, str]:
    """What templates say of the name."""
    kebab = name.replace("_", "-")
    return {
        "name": name,
        "kebab": kebab,
        "camel": _camel(name),
        "module": f"sightgraph_{name}",
        "distribution": f"sightgraph-{kebab}",
    }


def _text(template: str, names: dict[str, str]) -> str:
    file = files("app.cli") / "templates" / "operation" / f"{template}.tmpl"
    return Template(file.read_text(encoding="utf-8")).substitute(names)


def _next_steps(folder: Path) -> str:
    python, where = shlex.quote(sys.executable), shlex.quote(_shown(folder))
    steps = (f"{python} -m pip install --editable {where}", f"{python} -m pytest {where}", "sightgraph serve")
    return "\n".join(["Next, from here:", *(f"  {step}" for step in steps)])


def _shown(path: Path) -> str:
    return printable(str(path))
