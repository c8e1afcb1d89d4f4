"""Log records → one JSON object a line on standard error, each with the id of the request it belongs to."""

import logging
import sys
import time
from contextvars import ContextVar

import msgspec

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class JsonFormatter(logging.Formatter):
    """`extra={"seen": {...}}` adds fields of the record's own."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            entry["request_id"] = current
        seen = getattr(record, "seen", None)
        if isinstance(seen, dict):
            entry.update({name: value for name, value in seen.items() if value is not None})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send everything to standard error as JSON; replaces whatever handlers there were."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # What no line of ours shows is not worth collecting for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
