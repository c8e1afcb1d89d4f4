"""The log: off the request path, safe from a kill, bounded in size."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest

from poem.hand import Answer
from poem_service.record import generation_log, sqlite_store
from poem_service.record.generation_log import GenerationLog
from poem_service.record.outcome import Outcome
from poem_service.record.sqlite_store import FILES_KEPT, SqliteStore, files_of
from support.postgres import eventually
from support.served import a_hand


def written(n: int) -> Outcome:
    return Outcome(a_hand(n), Answer("題", "詩" * 200), "composed", n, 0.001)


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM generation_logs").fetchone()[0])


READER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
print(db.execute("SELECT count(*) FROM generation_logs").fetchone()[0], flush=True)
sys.stdin.readline()
"""


def await_rows(path: Path, count: int) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if rows(path) == count:
                return
        except sqlite3.OperationalError:
            pass
        time.sleep(0.02)
    raise AssertionError("the rows did not come")


def test_closing_writes_what_waits(tmp_path: Path) -> None:
    log = GenerationLog(SqliteStore(tmp_path / "log.sqlite3"))
    for n in range(50):
        log.add(written(n))
    log.close()
    assert (rows(tmp_path / "log.sqlite3"), log.lost) == (50, 0)


def test_a_full_file_s_rows_move_up_and_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    for n in range(FILES_KEPT + 3):
        log = GenerationLog(SqliteStore(path, bytes_max=1))
        log.add(written(n))
        log.close()
    names = [f"log.sqlite3.{n}" for n in range(1, FILES_KEPT + 1)]
    assert {p.name for p in tmp_path.iterdir()} == {"log.sqlite3", *names}
    assert [rows(tmp_path / name) for name in ["log.sqlite3", *names]] == [0, 1, 1, 1]
    with closing(sqlite3.connect(tmp_path / "log.sqlite3.1")) as db:
        assert db.execute("SELECT seed FROM generation_logs").fetchall() == [(FILES_KEPT + 2,)]


def test_rows_move_up_together_with_the_ids_of_their_requests(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    for n in range(FILES_KEPT):
        log = GenerationLog(SqliteStore(path, bytes_max=1))
        outcome = written(n)
        outcome.request_id = f"request-{n}"
        log.add(outcome)
        log.close()
        assert log.lost == 0
    query = "SELECT request_id, seed FROM generation_logs JOIN requests ON log_id = id"
    for n, file in enumerate(reversed(files_of(path)[1:])):
        with closing(sqlite3.connect(file)) as db:
            assert db.execute(query).fetchall() == [(f"request-{n}", n)]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM requests").fetchall() == [(0,)]


def test_nobody_writes_between_the_copying_and_the_deleting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker's row would be deleted and nowhere else. The files are asked for in that moment."""
    tried = []

    def meanwhile(path: Path) -> list[Path]:
        with closing(sqlite3.connect(path, timeout=0)) as other:
            try:
                other.execute("DELETE FROM requests")
            except sqlite3.OperationalError as error:
                tried.append(error.sqlite_errorname)
        return files_of(path)

    monkeypatch.setattr(sqlite_store, "files_of", meanwhile)
    log = GenerationLog(SqliteStore(tmp_path / "log.sqlite3", bytes_max=1))
    log.add(written(0))
    log.close()
    assert tried == ["SQLITE_BUSY"]


def test_a_file_that_another_worker_has_just_emptied_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved up, an empty file would cost the oldest rows."""
    full = iter([10**9])
    monkeypatch.setattr(sqlite_store, "_bytes", lambda _: next(full, 0))
    log = GenerationLog(SqliteStore(tmp_path / "log.sqlite3"))
    log.add(written(0))
    log.close()
    assert {path.name for path in tmp_path.iterdir()} == {"log.sqlite3"}
    assert rows(tmp_path / "log.sqlite3") == 1


def test_what_a_kill_left_of_a_copy_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "log.sqlite3.part").write_bytes(b"half of a copy" * 100)
    log = GenerationLog(SqliteStore(tmp_path / "log.sqlite3", bytes_max=1))
    log.add(written(0))
    log.close()
    assert (rows(tmp_path / "log.sqlite3.1"), log.lost) == (1, 0)


def test_a_log_that_cannot_be_rotated_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    (tmp_path / "log.sqlite3.part").mkdir()  # a place that no file can take
    for n in range(2):
        log = GenerationLog(SqliteStore(path, bytes_max=1))
        log.add(written(n))
        log.close()
        assert (rows(path), log.lost) == (n + 1, 0)
    (tmp_path / "log.sqlite3.part").rmdir()
    log = GenerationLog(SqliteStore(path, bytes_max=1))
    log.add(written(2))
    log.close()
    assert [rows(file) for file in files_of(path)[:2]] == [0, 3]


def test_no_row_is_lost_while_another_process_reads_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    log = GenerationLog(SqliteStore(path, bytes_max=60_000))
    log.add(written(0))
    await_rows(path, 1)
    reading = subprocess.Popen(
        [sys.executable, "-c", READER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reading.stdin
    assert reading.stdout
    assert reading.stdout.readline() == "1\n"
    for n in range(1, 40):
        log.add(written(n))
        time.sleep(0.05)
    log.close()
    files = [path, *(tmp_path / f"log.sqlite3.{n}" for n in range(1, FILES_KEPT + 1))]
    kept = [rows(file) for file in files if file.exists()]
    assert len(kept) > 1
    assert (sum(kept), log.lost) == (40, 0)
    reading.communicate("end\n", timeout=10)


def test_a_file_of_an_older_version_gets_the_column_that_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "CREATE TABLE generation_logs (id INTEGER PRIMARY KEY, created_at TEXT, selected_cards TEXT,"
            " generated_poem TEXT, generation_time_ms INTEGER, is_successful BOOLEAN, llm_provider TEXT,"
            " llm_model TEXT, prompt_text TEXT, reasoning_text TEXT)"
        )
        db.execute("INSERT INTO generation_logs (created_at) VALUES ('before')")
    log = GenerationLog(SqliteStore(path))
    log.add(written(7))
    log.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT seed FROM generation_logs").fetchall() == [(None,), (7,)]
    assert log.lost == 0


def test_a_poem_that_makes_no_row_costs_that_row_only(tmp_path: Path) -> None:
    log = GenerationLog(SqliteStore(tmp_path / "log.sqlite3"))
    broken = written(1)
    broken.answer = Answer("\ud800", "一方だけの代用符号")
    for outcome in (written(0), broken, written(2)):
        log.add(outcome)
    log.close()
    assert (rows(tmp_path / "log.sqlite3"), log.lost) == (2, 1)


def test_a_full_queue_costs_rows_and_never_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(generation_log, "WAITING_MAX", 3)
    monkeypatch.setattr(sqlite_store, "BUSY_S", 0.1)
    path = tmp_path / "log.sqlite3"
    log = GenerationLog(SqliteStore(path))
    log.add(written(0))
    await_rows(path, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # nobody else can write
        started = time.monotonic()
        for n in range(1, 11):
            log.add(written(n))
            time.sleep(0.01)
        assert time.monotonic() - started < 1
        time.sleep(0.6)
        for n in range(11, 21):
            log.add(written(n))
        assert 0 < log.lost <= 18
        assert len(lines(caplog, "poems are not logged: too many wait")) == 1
        other.execute("COMMIT")
    log.close()
    assert rows(path) + log.lost == 21


def test_rows_wait_for_a_file_that_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "BUSY_S", 0.1)
    path = tmp_path / "log.sqlite3"
    log = GenerationLog(SqliteStore(path))
    log.add(written(0))
    await_rows(path, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for n in range(1, 6):
            log.add(written(n))
        time.sleep(1.0)
        other.execute("COMMIT")
    await_rows(path, 6)
    log.close()
    assert log.lost == 0


def lines(caplog: pytest.LogCaptureFixture, message: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.message == message]


def test_a_store_that_takes_no_rows_is_told_of_once_and_what_waits_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite_store, "BUSY_S", 0.05)
    path = tmp_path / "log.sqlite3"
    log = GenerationLog(SqliteStore(path))
    log.add(written(0))
    await_rows(path, 1)
    eventually(lambda: log.waiting == 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for n in range(1, 6):
            log.add(written(n))
        eventually(lambda: log.failing)
        assert (log.failing, log.waiting) == ("database is locked", 5)
        time.sleep(0.5)  # it is tried again and again
        (line,) = lines(caplog, "poems wait to be logged")
        assert vars(line)["seen"] == {"waiting": 5, "lost": 0, "error": "database is locked"}
        monkeypatch.setattr(generation_log, "TELL_S", 0.0)
        eventually(lambda: len(lines(caplog, "poems wait to be logged")) > 2)
        other.execute("COMMIT")
    await_rows(path, 6)
    eventually(lambda: log.failing is None)
    log.close()
    assert (log.waiting, log.lost) == (0, 0)


def test_a_locked_file_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "BUSY_S", 0.1)
    path = tmp_path / "log.sqlite3"
    log = GenerationLog(SqliteStore(path))
    log.add(written(0))
    await_rows(path, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        log.add(written(1))
        started = time.monotonic()
        log.close()
        assert time.monotonic() - started < 3
    assert log.lost == 1


def test_a_file_that_will_never_take_a_row_is_known_at_once(tmp_path: Path) -> None:
    """One that may only be read, and a new one in such a folder; as another user than root meets them."""
    read_only, new = tmp_path / "open" / "log.sqlite3", tmp_path / "closed" / "log.sqlite3"
    for path, mode in ((read_only, 0o777), (new, 0o555)):
        path.parent.mkdir()
        path.parent.chmod(mode)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    assert SqliteStore(read_only).unusable() is None
    read_only.chmod(0o444)
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from poem_service.record.sqlite_store import SqliteStore\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "for name in sys.argv[1:]: print(SqliteStore(Path(name)).unusable())\n"
    )
    command = [sys.executable, "-c", script, str(read_only), str(new)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["attempt to write a readonly database", "unable to open database file"]


def test_a_file_that_is_held_is_not_unusable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "BUSY_S", 0.01)
    path = tmp_path / "log.sqlite3"
    assert SqliteStore(path).unusable() is None
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert SqliteStore(path).unusable() is None


def test_the_request_s_id_finds_its_row(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    log = GenerationLog(SqliteStore(path))
    for n in range(3):
        outcome = written(n)
        outcome.request_id = f"request-{n}"
        log.add(outcome)
    log.close()
    with closing(sqlite3.connect(path)) as db:
        found = db.execute(
            "SELECT seed FROM generation_logs JOIN requests ON log_id = id WHERE request_id = 'request-1'"
        ).fetchall()
    assert found == [(1,)]


def test_rows_older_than_a_second_survive_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    script = textwrap.dedent(
        f"""
        import sys, time
        from pathlib import Path
        sys.path[:0] = {sys.path!r}
        from poem.hand import Answer
        from poem_service.record.generation_log import GenerationLog
        from poem_service.record.sqlite_store import SqliteStore
        from poem_service.record.outcome import Outcome
        from support.served import a_hand
        log = GenerationLog(SqliteStore(Path({str(path)!r})))
        for n in range(10_000):
            log.add(Outcome(a_hand(n % 7), Answer("題", "詩" * 200), "composed", n, 0.001))
            print(n, time.time(), flush=True)
            time.sleep(0.01)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    added: list[tuple[int, float]] = []
    while len(added) < 250:
        n, at = process.stdout.readline().split()
        added.append((int(n), float(at)))
    os.kill(process.pid, signal.SIGKILL)
    killed_at = time.time()
    process.wait()
    process.stdout.close()
    assert rows(path) >= sum(at < killed_at - 1 for _, at in added) > 0
