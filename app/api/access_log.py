"""One line for every request: who asked for what, and what came of it. Queries and bodies are in none."""

import logging
from urllib.parse import quote

from app.api.exchange import Exchange

log = logging.getLogger(__name__)

_LONGEST_PATH = 200


def log_access(exchange: Exchange) -> None:
    level = logging.DEBUG if exchange.is_probe else logging.INFO
    if not log.isEnabledFor(level):
        return
    facts = {
        "method": exchange.method,
        "path": shown_path(exchange.path),
        "route": exchange.route,
        "status": exchange.status,
        "ms": round(exchange.seconds * 1000, 3),
        "bytes": exchange.bytes_sent,
        "api_key": exchange.api_key,
    }
    log.log(
        level,
        "%s %s %s %.1f ms %s bytes%s",
        facts["method"],
        facts["path"],
        facts["status"],
        facts["ms"],
        facts["bytes"],
        "" if exchange.api_key is None else f" key {exchange.api_key}",
        extra=facts,
    )


def shown_path(path: str) -> str:
    """A path as printable ASCII of a bounded length."""
    shown = quote(path[:_LONGEST_PATH])
    return shown if len(shown) <= _LONGEST_PATH else f"{shown[:_LONGEST_PATH]}..."
