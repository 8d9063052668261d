"""How messages repeat what a client sent: named by its field, and never at full length."""

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

from pydantic_core import ErrorDetails, PydanticSerializationError, to_json

_SHOWN_PROBLEMS = 5


def shortened(text: str, limit: int = 64) -> str:
    """A client's text as a message may repeat it."""
    return text if len(text) <= limit else f"{text[:limit]}..."


def quoted(value: Any) -> str:
    """A client's value as JSON, shortened."""
    try:
        return shortened(to_json(value, fallback=repr).decode(errors="replace"))
    except PydanticSerializationError:
        # Nested deeper than anything that writes it would go; the limit is in the repr.
        return shortened(reprlib.repr(value))


def explain(
    problems: Iterable[ErrorDetails], *, root: str = "", whole: str = "body", known: Iterable[str] = ()
) -> str:
    """pydantic's errors as one line: `field.path[0]: the rule, got the value; ...`.

    Args:
        problems: what `ValidationError.errors()` lists.
        root: the name that stands before every path.
        whole: what is at fault where no field of it is.
        known: fields, of which the nearest is suggested for one that is not known.
    """
    names = list(known)
    told = list(dict.fromkeys(_told(problem, root, whole, names) for problem in problems))
    more = len(told) - _SHOWN_PROBLEMS
    return "; ".join(told[:_SHOWN_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")


def _told(problem: ErrorDetails, root: str, whole: str, known: list[str]) -> str:
    path = root
    for step in problem["loc"]:
        if isinstance(step, int):
            path += f"[{step}]"
        # The tag of a union is no step of the client's own.
        elif not step.startswith("@"):
            path += f".{step}" if path else step
    match problem["type"]:
        case "missing":
            return f"{shortened(path)}: is required"
        case "extra_forbidden":
            near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            return f"{shortened(path)}: is not a known field{hint}"
    rule = problem["msg"].removeprefix("Value error, ")
    return f"{shortened(path) or whole}: {rule}, got {quoted(problem['input'])}"
