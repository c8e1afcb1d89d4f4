"""The log: off the request path, safe from a kill, bounded in size."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

from poem.hand import Answer
from poem_service.record.generation_log import FILES_KEPT, GenerationLog
from poem_service.record.outcome import Outcome
from support.served import a_hand


def written(n: int) -> Outcome:
    return Outcome(a_hand(n), Answer("題", "詩" * 200), "composed", n, 0.001)


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM generation_logs").fetchone()[0])


def test_closing_writes_what_waits(tmp_path: Path) -> None:
    log = GenerationLog(tmp_path / "log.sqlite3")
    for n in range(50):
        log.add(written(n))
    log.close()
    assert (rows(tmp_path / "log.sqlite3"), log.lost) == (50, 0)


def test_a_full_file_moves_up_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    for n in range(FILES_KEPT + 3):
        log = GenerationLog(path, bytes_max=1)
        log.add(written(n))
        log.close()
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {f"log.sqlite3.{n}" for n in range(1, FILES_KEPT + 1)}
    assert all(rows(tmp_path / name) == 1 for name in names)


def test_rows_older_than_a_second_survive_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    script = textwrap.dedent(
        f"""
        import sys, time
        from pathlib import Path
        sys.path[:0] = {sys.path!r}
        from poem.hand import Answer
        from poem_service.record.generation_log import GenerationLog
        from poem_service.record.outcome import Outcome
        from support.served import a_hand
        log = GenerationLog(Path({str(path)!r}))
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
