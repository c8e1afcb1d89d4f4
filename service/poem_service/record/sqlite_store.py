"""Rows → a SQLite file, `generation_logs`.

WAL with a commit each time: rows that were kept survive a kill. When the file is full its rows are copied to
`<name>.1` and only then deleted, the older files having moved up; the file itself is never moved or unlinked, so
whoever reads it meanwhile, in whatever process, neither loses rows nor sees another file's. A kill between copying and
deleting leaves rows twice.
"""

import logging
import sqlite3
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

from poem_service.record.generation_log import NAMES, Rows

log = logging.getLogger("poem_service.record.sqlite_store")

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
_NAMES = ", ".join(NAMES)
# Which request a row answered stands beside the rows, whose columns are fixed.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS {file}.generation_logs ({columns});
CREATE TABLE IF NOT EXISTS {file}.requests (log_id INTEGER PRIMARY KEY, request_id TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS {file}.requests_by_id ON requests (request_id);
"""
_INSERT = f"INSERT INTO generation_logs ({_NAMES}) VALUES ({', '.join('?' * len(NAMES))})"
BUSY_S = 5.0
FILES_KEPT = 3
_HELD = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_PASSING = _HELD | {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


class SqliteStore:
    """A file that other processes may write and read too."""

    retry_s = 0.0
    """Waiting for another process is the library's business."""

    def __init__(self, path: Path, bytes_max: int = 64 * 1024 * 1024) -> None:
        self._path = path
        self._bytes_max = bytes_max

    def is_busy(self, error: Exception) -> bool:
        """Whether another process holds the file."""
        return _code(error) in _HELD

    def unusable(self) -> str | None:
        """Why no row will ever be kept; None where one can be, or may be once the file is free or the disk has room."""
        try:
            self.keep([])  # makes the tables where they are missing, and else writes nothing
            with closing(sqlite3.connect(self._path, timeout=BUSY_S)) as db:
                db.execute("DELETE FROM generation_logs WHERE 0")
        except sqlite3.Error as error:
            return None if _code(error) in _PASSING else str(error)
        return None

    def keep(self, rows: Rows) -> None:
        """Write and commit, and make room if the file is full. Opened anew each time: a moved file does no harm."""
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

    def close(self) -> None:
        return None  # opened anew each time

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


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _bytes(db: sqlite3.Connection) -> int:
    """What the rows take: pages that a rotation freed are used again and do not count."""
    pages, free, size = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size
