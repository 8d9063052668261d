"""What form of an answer a client prefers, by its Accept header."""

import re
from collections.abc import Sequence
from typing import Any

from litestar import Request
from litestar.datastructures.headers import Accept

_REFUSED = re.compile(r";\s*q\s*=\s*0(\.0*)?\s*(;|$)", re.IGNORECASE)


def preferred(request: Request[Any, Any, Any], offered: Sequence[str]) -> str:
    """The media type that a client prefers among those that are offered.

    It is the first where the client has no wish, or one that none fulfils: an answer of another form than
    asked for serves it better than none.
    """
    header = request.headers.get("accept", "")
    # Litestar's class would take a type of quality 0 where nothing else fits.
    wanted = ",".join(part for part in header.split(",") if part.strip() and not _REFUSED.search(part))
    try:
        return Accept(wanted).best_match(list(offered), offered[0]) if wanted else offered[0]
    except (ValueError, OverflowError):
        # A quality that is no number.
        return offered[0]
