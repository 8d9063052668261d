"""What every storage asks of items before it keeps them: that they come back as they were given."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from app.core.errors import InvalidParams
from app.core.filters import is_storable
from app.core.wording import quoted
from app.index.storage import NewItem

# Ids are keys of tables; PostgreSQL takes none of more than 2.7 KB.
MAX_ID_LENGTH = 512
# 32 bits, as PostgreSQL's integers.
_MAX_PIXELS = (1 << 31) - 1


def checked_items(items: Sequence[NewItem]) -> list[bytes]:
    """The metadata of each item as JSON, which gives the same values when it is read.

    Raises:
        InvalidParams: something of an item cannot be kept, or its id is there twice. The message names it.
    """
    known = set()
    for item in items:
        if item.id in known:
            raise InvalidParams(
                f"id: each must be there once in one call, and {quoted(item.id)} is there again"
            )
        known.add(item.id)
    return [_checked(item) for item in items]


def _checked(item: NewItem) -> bytes:
    if not (0 < len(item.id) <= MAX_ID_LENGTH and is_storable(item.id)):
        raise InvalidParams(
            f"id: must be 1 to {MAX_ID_LENGTH} characters, without NUL and lone surrogates, "
            f"not {quoted(item.id)}"
        )
    here = f"item {quoted(item.id)}"
    lengths = [length for length in (item.width, item.height) if length is not None]
    for number in (*lengths, *(corner for region in item.regions for corner in region.bbox or ())):
        if not -_MAX_PIXELS <= number <= _MAX_PIXELS:
            raise InvalidParams(f"{here}: pixels must lie within {_MAX_PIXELS}, not {quoted(number)}")
    for region in item.regions:
        if region.phash is not None and not 0 <= region.phash < 1 << 64:
            raise InvalidParams(f"{here}: phash must be 64 bits, not {quoted(region.phash)}")
    if item.sha256 is not None and not is_storable(item.sha256):
        raise InvalidParams(f"{here}: sha256 must hold no NUL and no lone surrogate")
    return metadata_json(item.metadata, f"{here}, metadata")


def metadata_json(metadata: Mapping[str, Any], field: str) -> bytes:
    """Metadata as JSON.

    Raises:
        InvalidParams: it is not JSON, or holds text that cannot be kept.
    """
    try:
        text = orjson.dumps(metadata)
    except TypeError as error:
        # Of lone surrogates, integers over 64 bits, nesting over some hundred levels, and what is no JSON.
        raise InvalidParams(f"{field}: cannot be written as JSON: {error}") from None
    if orjson.loads(text) != metadata:
        raise InvalidParams(f"{field}: must hold JSON values only, and finite numbers")
    # JSON writes NUL as an escape; a backslash is escaped too, so that two of them begin none.
    if b"\\u0000" in text.replace(b"\\\\", b""):
        raise InvalidParams(f"{field}: must hold no NUL character")
    return text
