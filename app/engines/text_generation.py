"""What the engines that write text about an image have in common."""

from collections.abc import Sequence
from typing import Protocol

from app.core.artifacts import Crop
from app.core.errors import InvalidParams

# The most tokens that one answer may have.
LONGEST_TEXT = 512


class Captioner(Protocol):
    """An engine that describes what it sees."""

    def describe(
        self, crops: Sequence[Crop], *, max_length: int = 50, prompt: str = "", num_beams: int = 1
    ) -> list[str]:
        """One text a crop, without special tokens or blanks at its ends. The same crop always gives the same.

        Args:
            max_length: the most tokens that the model may add, 1 to `LONGEST_TEXT`; a token is a word or a
                part of one. Fewer where the prompt leaves the model no more places.
            prompt: what the description begins with, or the instruction to describe, as the model has it.
            num_beams: how many continuations are followed at once; with 1 the likeliest next token is taken.

        Raises:
            InvalidParams: the prompt is longer than what the model reads.
        """


class Answerer(Protocol):
    """An engine that answers a question about what it sees."""

    def answer(
        self, crops: Sequence[Crop], *, question: str, max_length: int = 50, num_beams: int = 1
    ) -> list[str]:
        """One answer a crop; for the rest see `Captioner.describe`.

        Raises:
            InvalidParams: the question is longer than what the model reads.
        """


def tokens_to_add(max_length: int, *, taken: int, positions: int, field: str) -> int:
    """How many tokens a model may add behind those that it was given.

    Args:
        max_length: how many are wanted.
        taken: how many it was given.
        positions: the places that it has; the last token needs none, as nothing follows it.
        field: the param that they came from.

    Raises:
        InvalidParams: it was given too many.
    """
    must_fit(taken, positions=positions, field=field)
    return min(max_length, positions - taken + 1)


def must_fit(taken: int, *, positions: int, field: str) -> None:
    """Refuse a text of more tokens than a model reads; `field` is the param that it came from.

    Raises:
        InvalidParams: the text is too long.
    """
    if taken > positions:
        raise InvalidParams(f"{field}: is {taken} tokens long, and this model reads {positions}")
