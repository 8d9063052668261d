"""Labels as people write them, to those of a training set."""

from collections.abc import Sequence

from app.core.wording import quoted
from classifiers.rows import SourceError

POSITIVE = "positive"
NEGATIVE = "negative"

Label = bool | int | str
# A label with what a message calls its place, such as `line 3`.
Placed = tuple[str, Label]

_MEANS = {
    **dict.fromkeys(("true", "1", "yes", POSITIVE), POSITIVE),
    **dict.fromkeys(("false", "0", "no", NEGATIVE), NEGATIVE),
}


def is_yes_or_no(label: Label) -> bool:
    """Whether a label tells by itself that something is in the collection, or that it is not."""
    return _word(label) in _MEANS


def named(labels: Sequence[Placed]) -> tuple[list[str], tuple[str, ...], str | None]:
    """The labels as names, all names that may occur, and the one that means "is in the collection".

    Where every label is true, false, 1, 0, yes, no, positive or negative, in any case, the names are
    `negative` and `positive`. Else every label is the name of a class.

    Raises:
        SourceError: a label is empty, or true and false stand beside the names of classes.
    """
    if all(is_yes_or_no(label) for _, label in labels):
        return [_MEANS[_word(label)] for _, label in labels], (NEGATIVE, POSITIVE), POSITIVE
    names = [_class_name(place, label) for place, label in labels]
    return names, tuple(sorted(set(names))), None


def _word(label: Label) -> str:
    return str(label).strip().lower()


def _class_name(place: str, label: Label) -> str:
    if isinstance(label, bool):
        raise SourceError(
            f"{place}: label: is {quoted(label)}, and other rows have the names of classes: a collection has "
            f"either true and false, or names."
        )
    name = str(label).strip()
    if not name:
        raise SourceError(f"{place}: label: is empty; give the name of the class.")
    return name
