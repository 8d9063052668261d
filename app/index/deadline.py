"""The end of the time in which an answer is of use."""

import time

from app.core.errors import DeadlineExceeded


def check(until: float | None) -> None:
    """To be called between the parts of long work.

    Args:
        until: a time of `time.monotonic`; None where somebody waits for ever.

    Raises:
        DeadlineExceeded: it has passed.
    """
    if until is not None and time.monotonic() > until:
        raise DeadlineExceeded("The request's deadline passed.")
