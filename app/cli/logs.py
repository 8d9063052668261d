"""The lines that `sightgraph serve` logs: for people, or as JSON for machines."""

import logging
from typing import Any, Literal

_COLOURED = "color_message"
_NOT_ESCAPED = {ord("\t")}
_ESCAPES = {
    code: f"\\x{code:02x}" for code in [*range(32), 127, *range(128, 160)] if code not in _NOT_ESCAPED
}
_ESCAPES |= {ord("\n"): "\\n", ord("\r"): "\\r", 0x2028: "\\u2028", 0x2029: "\\u2029"}


class LineFormatter(logging.Formatter):
    """A message on one line, whatever a client put into it; a traceback follows on its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return super().formatMessage(record).rstrip().translate(_ESCAPES)


def logging_config(form: Literal["text", "json"], level: str) -> dict[str, Any]:
    """What `logging.config.dictConfig` takes."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": "app.api.request_id.RequestIdFilter"}},
        "formatters": {"text": _TEXT, "json": _JSON},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": form,
                "filters": ["request_id"],
            }
        },
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            "app": {"level": level.upper()},
            "classifiers": {"level": level.upper()},
            # Below, it tells of every read of a connection.
            "uvicorn": {"level": "INFO" if level == "debug" else level.upper()},
        },
    }


_TEXT: dict[str, Any] = {
    "()": LineFormatter,
    "format": "%(asctime)s %(levelname)-7s %(request_id)s %(name)s: %(message)s",
}


def _json() -> dict[str, Any]:
    from pythonjsonlogger.core import RESERVED_ATTRS

    return {
        # The standard library's JSON: it also writes what is no valid Unicode.
        "()": "pythonjsonlogger.json.JsonFormatter",
        "fmt": ["levelname", "name", "message", "request_id"],
        "rename_fields": {"levelname": "level", "name": "logger", "exc_info": "exception"},
        "timestamp": "time",
        "reserved_attrs": [*RESERVED_ATTRS, _COLOURED],
    }


_JSON = _json()
