"""What the log never holds: keys, images, and the queries of their URLs, which may be signatures."""

import logging

# Below warnings they tell whole URLs and headers, or what the EXIF of an image holds.
_TALKATIVE = ("httpx", "httpcore", "PIL")


def keep_discreet() -> None:
    """Hold the libraries to it, at any level of the log and under any server of ours or others'."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").addFilter(_without_query)


def _without_query(record: logging.LogRecord) -> bool:
    """Somebody may have put a key into the address, where it is of no use."""
    if isinstance(record.args, tuple):
        record.args = tuple(each.partition("?")[0] if isinstance(each, str) else each for each in record.args)
    return True
