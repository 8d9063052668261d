"""Texts and numbers that users give, checked before anything is sent."""

from app.client.errors import InvalidInput
from app.core.wording import shortened


def text(name: str, given: object) -> str:
    """A text that a server can be told.

    Raises:
        InvalidInput: it is none, it is empty, or it has characters that UTF-8 has not; `name` is what the
            message calls it.
    """
    if not isinstance(given, str):
        raise InvalidInput(f"{name}: must be a text, not {shortened(repr(given))}; give it as a str.")
    if not given:
        raise InvalidInput(f"{name}: must not be empty.")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{name}: {shortened(repr(given))} has characters that UTF-8 has not.") from None
    return given


def seconds(name: str, given: float) -> str:
    """A time as a header has it.

    Raises:
        InvalidInput: it is no number; `name` is what the message calls it.
    """
    try:
        return f"{given:g}"
    except (TypeError, ValueError):
        raise InvalidInput(f"{name}: must be a number of seconds, not {shortened(repr(given))}.") from None
