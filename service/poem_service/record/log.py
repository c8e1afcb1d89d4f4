"""Log records → one JSON object a line on standard error, each with the id of the request it belongs to."""

import logging
import os
import queue
import sys
import threading
import time
from contextvars import ContextVar

import msgspec

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

LINES_WAITING_MAX = 1000
CLOSE_S = 1.0


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


class LineWriter(logging.Handler):
    """Lines to a file descriptor, by a thread of its own: one that nobody empties costs lines, never an answer.

    Written past `sys.stderr`, whose lock a thread that hangs would hold beyond the end of the process.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.lost = 0
        self._descriptor = descriptor
        self._waiting: queue.Queue[str | None] = queue.Queue(LINES_WAITING_MAX)
        self._thread = threading.Thread(target=self._run, name="log-lines", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._waiting.put_nowait(self.format(record))
        except queue.Full:
            self.lost += 1
        except Exception:  # a line that cannot be formatted must not cost a request
            self.lost += 1

    def close(self) -> None:
        """Write what waits; a descriptor that hangs holds the end up for `CLOSE_S` and no longer."""
        try:
            self._waiting.put(None, timeout=CLOSE_S)
            self._thread.join(CLOSE_S)
        except queue.Full:
            pass
        super().close()

    def _run(self) -> None:
        told = 0
        for line in iter(self._waiting.get, None):
            self._write(line)
            if self.lost > told:
                told = self.lost
                entry = {"level": "warning", "logger": __name__, "message": "lines were lost", "lost": told}
                self._write(msgspec.json.encode(entry).decode())

    def _write(self, line: str) -> None:
        left = memoryview(f"{line}\n".encode("utf-8", "backslashreplace"))
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:  # closed, or on a full disk
            self.lost += 1


def lines_lost() -> int:
    """How many lines this process could not write."""
    return sum(handler.lost for handler in logging.getLogger().handlers if isinstance(handler, LineWriter))


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send everything to standard error as JSON; replaces whatever handlers there were."""
    handler = LineWriter(sys.stderr.fileno()) if sys.stderr else logging.NullHandler()
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # What no line of ours shows is not worth collecting for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
