"""Options of several commands that say what vectors are."""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app.cli.connection import encodable

if TYPE_CHECKING:
    from classifiers.rows import Embedding

F = TypeVar("F", bound=Callable[..., Any])


def embedding_given(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> "list[Embedding]":
    """`NAME`, or `NAME {"param": value}`."""
    if not given:
        return []
    from pydantic import ValidationError

    from app.core.wording import explain
    from classifiers.sources.fields import EmbeddingFields

    embeddings = []
    for text in given:
        name, brace, params = text.partition("{")
        try:
            fields = {"operation": name.strip(), "params": json.loads(brace + params) if brace else {}}
            embeddings.append(EmbeddingFields.model_validate(fields).embedding())
        except ValidationError as error:
            raise click.BadParameter(f"{explain(error.errors(include_url=False))}.") from None
        except (ValueError, RecursionError) as error:
            raise click.BadParameter(f"the params of {name.strip()} are not valid JSON: {error}") from None
    if any(embeddings.count(each) > 1 for each in embeddings):
        raise click.BadParameter("names one embedding twice.")
    return embeddings


def _spaces(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    spaces: dict[str, str] = {}
    for text in given:
        operation, _, space = (part.strip() for part in text.partition("="))
        if not operation or not space:
            raise click.BadParameter(f"'{text}' is not of the form OPERATION=SPACE.")
        if spaces.setdefault(operation, space) != space:
            raise click.BadParameter(f"names two spaces of {operation}.")
    return spaces


def space_option(command: F) -> F:
    """`--space`, as `spaces` by operation."""
    return click.option(
        "--space",
        "spaces",
        multiple=True,
        metavar="OPERATION=SPACE",
        callback=_spaces,
        help="Of which space the vectors of an operation are, where the source does not tell; a server tells "
        "it as `model.space` in its answers. The classifier then never answers on vectors of another space; "
        "without it nobody checks.",
    )(command)


def pattern_given(
    context: click.Context, parameter: click.Parameter, given: str | None
) -> "re.Pattern[str] | None":
    try:
        return None if given is None else re.compile(given)
    except (re.error, RecursionError, OverflowError) as error:
        raise click.BadParameter(f"'{given}' is no regular expression: {error}.") from None


def collection_option(told: str) -> Callable[[F], F]:
    """Which collections, by `--collection` given once or several times."""
    return click.option(
        "--collection",
        "only",
        multiple=True,
        metavar="NAME",
        callback=lambda context, parameter, names: [encodable(context, parameter, name) for name in names],
        help=told,
    )
