"""Poems written → rows of `generation_logs`, by a thread of its own, off the request path.

WAL with a commit every quarter of a second: rows older than a second survive a kill. A full disk loses
rows, never a poem. When the file is full it becomes `<name>.1`, the older ones move up, the oldest goes.
"""

import logging
import queue
import sqlite3
import threading
import time
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from poem_service.record.outcome import Outcome

log = logging.getLogger("poem_service.record.generation_log")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS generation_logs (
    id INTEGER PRIMARY KEY,
    created_at TEXT NOT NULL,
    selected_cards TEXT NOT NULL,
    generated_poem TEXT NOT NULL,
    generation_time_ms INTEGER NOT NULL,
    is_successful BOOLEAN NOT NULL,
    llm_provider TEXT,
    llm_model TEXT,
    prompt_text TEXT,
    reasoning_text TEXT
)
"""
_INSERT = f"INSERT INTO generation_logs VALUES ({', '.join('?' * 10)})"
COMMIT_S = 0.25
WAITING_MAX = 10_000
FILES_KEPT = 3

Row = tuple[object, ...]


class GenerationLog:
    """Takes poems without ever blocking; `lost` counts the rows that could not be kept."""

    def __init__(self, path: Path, bytes_max: int = 64 * 1024 * 1024) -> None:
        self.lost = 0
        self._path = path
        self._bytes_max = bytes_max
        self._waiting: queue.Queue[tuple[datetime, Outcome] | None] = queue.Queue(WAITING_MAX)
        self._thread = threading.Thread(target=self._run, name="generation-log", daemon=True)
        self._thread.start()

    def add(self, outcome: Outcome) -> None:
        try:
            self._waiting.put_nowait((datetime.now(UTC), outcome))
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """Write what waits, then stop."""
        self._waiting.put(None)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        ended = False
        while not ended:
            batch, ended = self._batch()
            try:
                full = self._keep(batch)
                if full:
                    self._rotate()
            except (sqlite3.Error, OSError) as error:
                self.lost += len(batch)
                log.error("poems are not logged", extra={"seen": {"lost": self.lost, "error": str(error)}})

    def _batch(self) -> tuple[list[Row], bool]:
        """What comes within a commit's time after the first; whether the end came."""
        rows: list[Row] = []
        item = self._waiting.get()
        until = time.monotonic() + COMMIT_S
        while item is not None:
            rows.append(_row(*item))
            try:
                item = self._waiting.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return rows, False
        return rows, True

    def _keep(self, rows: list[Row]) -> bool:
        """Write and commit; whether the file is full. Opened anew each time, so a moved file does no harm."""
        if not rows:
            return False
        with closing(sqlite3.connect(self._path, timeout=5.0)) as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            with db:
                db.execute(_SCHEMA)
                db.executemany(_INSERT, rows)
            pages = db.execute("PRAGMA page_count").fetchone()[0] * db.execute("PRAGMA page_size").fetchone()[0]
            return int(pages) > self._bytes_max

    def _rotate(self) -> None:
        for n in range(FILES_KEPT, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{n}")
            newer = self._path.with_name(f"{self._path.name}.{n - 1}") if n > 1 else self._path
            with suppress(FileNotFoundError):
                newer.replace(older)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


def _row(at: datetime, outcome: Outcome) -> Row:
    pairs = [
        {
            "conditionCard": pair.card.as_json(),
            "selectedPoem": {"id": pair.wording.id, "poem_text": pair.wording.poem_text},
        }
        for pair in outcome.hand.pairs
    ]
    prompt = outcome.prompt
    return (
        None,
        at.isoformat(timespec="milliseconds"),
        msgspec.json.encode(pairs).decode(),
        msgspec.json.encode({"title": outcome.answer.title, "poem": outcome.answer.poem}).decode(),
        round(outcome.seconds * 1000),
        outcome.source == "model",
        outcome.engine or outcome.source,
        outcome.model,
        f"{prompt.system}\n\n{prompt.user}" if prompt else None,
        None,
    )
