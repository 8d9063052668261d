"""The time that a client gives to its request: never more than the server does."""

import re
from typing import Annotated

from litestar.di import NamedDependency
from litestar.params import HeaderParameter

from app.api.room import Room
from app.core.errors import MalformedRequest
from app.core.wording import quoted

HEADER = "X-Request-Timeout"
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def seconds_given(
    room: NamedDependency[Room],
    x_request_timeout: Annotated[
        str | None,
        HeaderParameter(
            name=HEADER,
            description="Seconds after which an image is answered with what is finished, the rest as "
            "`deadline_exceeded`; never more than the server's own setting, which is the default.",
            schema_extra={"type": "number", "exclusive_minimum": 0, "one_of": None},
        ),
    ] = None,
) -> float:
    """The seconds that an image of this request has.

    Raises:
        MalformedRequest: the header is no positive number, or over the setting.
    """
    if x_request_timeout is None:
        return room.limits.seconds
    sent = x_request_timeout.strip()
    seconds = float(sent) if _NUMBER.fullmatch(sent) else 0.0
    if not 0 < seconds <= room.limits.seconds:
        raise MalformedRequest(
            f"{HEADER}: must be a positive number of seconds and at most {room.limits.seconds:g}, which is "
            f"what this server gives without it; got {quoted(x_request_timeout)}"
        )
    return seconds
