"""Poems → rows of `generation_logs`, by a thread of its own, off the request path.

WAL with a commit every quarter of a second: rows older than a second survive a kill. A full disk loses
rows, never a poem. When the file is full its rows are copied to `<name>.1` and only then deleted, the older
files having moved up; the file itself is never moved or unlinked, so whoever reads it meanwhile, in whatever
process, neither loses rows nor sees another file's. A kill between copying and deleting leaves rows twice.
"""

import logging
import queue
import sqlite3
import threading
import time
from contextlib import closing, suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import msgspec

from poem_service.record.outcome import Outcome

log = logging.getLogger("poem_service.record.generation_log")

_COLUMNS = """
    id INTEGER PRIMARY KEY,
    created_at TEXT NOT NULL,
    selected_cards TEXT NOT NULL,
    generated_poem TEXT NOT NULL,
    generation_time_ms INTEGER NOT NULL,
    is_successful BOOLEAN NOT NULL,
    llm_provider TEXT,
    llm_model TEXT,
    prompt_text TEXT,
    reasoning_text TEXT,
    seed INTEGER
"""
_NAMES = ", ".join(line.split()[0] for line in _COLUMNS.strip().splitlines())
# Which request a row answered stands beside the rows, whose columns are fixed.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS {file}.generation_logs ({columns});
CREATE TABLE IF NOT EXISTS {file}.requests (log_id INTEGER PRIMARY KEY, request_id TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS {file}.requests_by_id ON requests (request_id);
"""
_INSERT = f"INSERT INTO generation_logs ({_NAMES}) VALUES ({', '.join('?' * (_NAMES.count(',') + 1))})"
COMMIT_S = 0.25
CLOSE_S = 10.0
BUSY_S = 5.0
WAITING_MAX = 10_000
FILES_KEPT = 3

Row = tuple[object, ...]
Rows = list[tuple[Row, str | None]]
"""Each with the id of its request."""


class GenerationLog:
    """Takes poems without ever blocking; `lost` counts the rows that could not be kept."""

    def __init__(self, path: Path, bytes_max: int = 64 * 1024 * 1024) -> None:
        self.lost = 0
        self._path = path
        self._bytes_max = bytes_max
        self._waiting: queue.Queue[tuple[datetime, Outcome] | None] = queue.Queue(WAITING_MAX)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="generation-log", daemon=True)
        self._thread.start()

    def add(self, outcome: Outcome) -> None:
        try:
            self._waiting.put_nowait((datetime.now(UTC), outcome))
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """Write what waits, then stop; a disk that hangs holds it up for `CLOSE_S` and no longer."""
        self._closing.set()
        with suppress(queue.Full):  # then the thread is awake and sees the event
            self._waiting.put_nowait(None)
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        rows: Rows = []
        while rows or not (self._closing.is_set() and self._waiting.empty()):
            if len(rows) < WAITING_MAX:
                rows += self._batch(wait=not rows)
            try:
                self._keep(rows)
            except Exception as error:  # whatever it is, the next rows may fare better
                if _is_busy(error) and not self._closing.is_set():
                    continue  # another process holds the file; the rows wait
                self._lose(len(rows), error)
            rows = []

    def _batch(self, *, wait: bool) -> Rows:
        """What comes within a commit's time after the first, as rows; an outcome that makes none is lost."""
        rows: Rows = []
        until = None if wait else time.monotonic() + COMMIT_S
        while len(rows) < WAITING_MAX:
            try:
                item = self._waiting.get(timeout=until and max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            until = until or time.monotonic() + COMMIT_S
            if item is None:  # the end has come; what was put before it is here
                break
            try:
                rows.append((_row(*item), item[1].request_id))
            except Exception as error:
                self._lose(1, error)
        return rows

    def _lose(self, count: int, error: Exception) -> None:
        self.lost += count
        log.error("poems are not logged", extra={"seen": {"lost": self.lost, "error": str(error)}})

    def _keep(self, rows: Rows) -> None:
        """Write and commit, and make room if the file is full. Opened anew each time: a moved file does no harm."""
        if not rows:
            return
        with closing(sqlite3.connect(self._path, timeout=BUSY_S)) as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            with db:
                _prepare(db, "main")
                for row, request_id in rows:
                    log_id = db.execute(_INSERT, row).lastrowid
                    if request_id is not None:
                        db.execute("INSERT INTO requests VALUES (?, ?)", (log_id, request_id))
            if _bytes(db) > self._bytes_max:
                try:
                    self._rotate(db)
                except (sqlite3.Error, OSError) as error:  # the rows are kept; there is another chance
                    log.error("a full log is not rotated", extra={"seen": {"error": str(error)}})

    def _rotate(self, db: sqlite3.Connection) -> None:
        """Copy every row to a file of its own, move that in place as `.1`, and delete the rows here."""
        part = self._path.with_name(f"{self._path.name}.part")
        db.isolation_level = None
        db.execute("BEGIN IMMEDIATE")  # another writer waits
        if _bytes(db) <= self._bytes_max:  # and finds the file no longer full
            db.execute("ROLLBACK")
            return
        part.unlink(missing_ok=True)  # of a process that was killed
        with closing(sqlite3.connect(self._path, timeout=BUSY_S)) as copy:
            copy.execute("ATTACH ? AS part", (str(part),))
            with copy:
                _prepare(copy, "part")
                copy.execute(f"INSERT INTO part.generation_logs ({_NAMES}) SELECT {_NAMES} FROM main.generation_logs")
                copy.execute("INSERT INTO part.requests SELECT * FROM main.requests")
        kept = files_of(self._path)[1:]
        for newer, older in reversed(list(pairwise([part, *kept]))):
            with suppress(FileNotFoundError):
                newer.replace(older)
        db.execute("DELETE FROM generation_logs")
        db.execute("DELETE FROM requests")
        db.execute("COMMIT")


def files_of(path: Path) -> list[Path]:
    """The log's file and the older ones, newest first, whether they are there or not."""
    return [path, *(path.with_name(f"{path.name}.{n}") for n in range(1, FILES_KEPT + 1))]


def _prepare(db: sqlite3.Connection, file: str) -> None:
    """The tables, and in a file of an older version the column that it lacks."""
    for statement in _SCHEMA.format(file=file, columns=_COLUMNS).split(";"):
        if statement.strip():
            db.execute(statement)
    if "seed" not in {column[1] for column in db.execute(f"PRAGMA {file}.table_info(generation_logs)")}:
        db.execute(f"ALTER TABLE {file}.generation_logs ADD COLUMN seed INTEGER")


def _bytes(db: sqlite3.Connection) -> int:
    """What the rows take: pages that a rotation freed are used again and do not count."""
    pages, free, size = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _is_busy(error: Exception) -> bool:
    code = error.sqlite_errorcode if isinstance(error, sqlite3.OperationalError) else 0
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


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
        outcome.reasoning,
        outcome.seed,
    )
