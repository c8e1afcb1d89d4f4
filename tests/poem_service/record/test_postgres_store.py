"""The generation log in a real PostgreSQL: rows of several writers, through a restart, counted if lost."""

import json
import select
import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from poem.hand import Answer
from poem_service.errors import SettingsError
from poem_service.record import generation_log
from poem_service.record.generation_log import GenerationLog
from poem_service.record.outcome import Outcome
from poem_service.settings import Settings
from support.postgres import Postgres, eventually, postgres, programs
from support.served import a_hand, sent, serving

psycopg = pytest.importorskip("psycopg")

from poem_service.record.postgres_store import PostgresStore  # noqa: E402

pytestmark = pytest.mark.skipif(programs() is None, reason="no PostgreSQL here: apt-get install postgresql")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory() as home, postgres(Path(home)) as found:
        yield found


@pytest.fixture(autouse=True)
def empty(server: Postgres) -> None:
    ask(server, "DROP TABLE IF EXISTS generation_logs, requests, log_writers")


def ask(server: Postgres, statement: str) -> list[Any]:
    with psycopg.connect(server.url, autocommit=True) as db:
        cursor = db.execute(statement)
        return cursor.fetchall() if cursor.description else []


def written(n: int) -> Outcome:
    outcome = Outcome(a_hand(n), Answer("題", "詩" * 200), "composed", n, 0.001, reasoning="考\0え")
    outcome.request_id = f"request-{n}" if n % 2 else None
    return outcome


async def test_poems_of_the_service_are_rows_with_the_ids_of_their_requests(server: Postgres) -> None:
    async with serving(Settings.from_env({"POEM_ENGINE": "none", "POEM_LOG_DB": server.url})) as (_, client):
        answers = [await client.post("/api/generate-poem", json=sent(a_hand(n))) for n in range(20)]
        metrics = (await client.get("/metrics")).text
    rows = ask(
        server,
        "SELECT generated_poem, selected_cards, is_successful, request_id, created_at > now() - interval '1 hour' "
        "FROM generation_logs JOIN requests ON log_id = id ORDER BY id",
    )
    assert [json.loads(row[0]) for row in rows] == [answer.json() for answer in answers]
    assert json.loads(rows[0][1]) == sent(a_hand(0))["selectedPairs"]
    assert [row[3] for row in rows] == [answer.headers["x-request-id"] for answer in answers]
    assert {(row[2], row[4]) for row in rows} == {(False, True)}
    assert "poem_log_rows_waiting" in metrics


def test_several_writers_lose_nothing_while_the_database_restarts(server: Postgres) -> None:
    logs = [GenerationLog(PostgresStore(server.url)) for _ in range(3)]
    for n in range(100):
        logs[n % 3].add(written(n))
    eventually(lambda: ask(server, "SELECT to_regclass('requests') IS NOT NULL")[0][0])
    server.stop()
    for n in range(100, 200):
        logs[n % 3].add(written(n))
    server.start()
    eventually(lambda: ask(server, "SELECT count(DISTINCT seed) FROM generation_logs")[0][0] == 200)
    for log in logs:
        log.close()
    assert [log.lost for log in logs] == [0, 0, 0]
    assert ask(server, "SELECT count(*) FROM requests")[0][0] >= 100
    assert ask(server, "SELECT DISTINCT reasoning_text FROM generation_logs") == [("考え",)]


def test_a_batch_whose_commit_was_left_unanswered_is_there_once(server: Postgres) -> None:
    with deaf_once(server.port) as (port, unheard):
        log = GenerationLog(PostgresStore(server.url.replace(str(server.port), str(port))))
        for n in range(20):
            log.add(written(n))
        assert unheard.wait(20)
        log.add(written(20))
        eventually(lambda: ask(server, "SELECT count(DISTINCT seed) FROM generation_logs")[0][0] == 21)
        log.close()
    assert log.lost == 0
    assert ask(server, "SELECT count(*) FROM generation_logs") == [(21,)]
    assert ask(server, "SELECT count(*) FROM log_writers") == [(1,)]


@contextmanager
def deaf_once(to: int) -> Iterator[tuple[int, threading.Event]]:
    """A way to the port that breaks once, between the commit of a row and its answer; the event says that it did."""
    unheard = threading.Event()

    class Way(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", to)) as there:
                logging = False
                while True:
                    for one in select.select([self.request, there], [], [])[0]:
                        try:
                            said = one.recv(65536)
                            if not said:
                                return
                            (there if one is self.request else self.request).sendall(said)
                        except ConnectionError:
                            return
                        logging = logging or b"INTO generation_logs" in said
                        if one is self.request and logging and b"COMMIT" in said and not unheard.is_set():
                            there.recv(65536)  # the commit's answer
                            unheard.set()
                            return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Way) as way:
        running = threading.Thread(target=way.serve_forever)
        running.start()
        yield way.server_address[1], unheard
        way.shutdown()
        running.join()


def test_rows_beyond_what_may_wait_are_counted(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation_log, "WAITING_MAX", 3)
    server.stop()
    try:
        log = GenerationLog(PostgresStore(server.url))
        for n in range(100):
            log.add(written(n))
        assert log.lost >= 100 - 2 * 3 - 1
        eventually(lambda: log.failing)
        assert log.waiting == 100 - log.lost  # those in hand, and those behind them
        log.close()
        assert log.lost == 100
    finally:
        server.start()


def test_a_password_that_is_wrong_is_told_and_the_rows_wait(server: Postgres, caplog: pytest.LogCaptureFixture) -> None:
    log = GenerationLog(PostgresStore(server.url.replace("a-secret", "another-one")))
    log.add(written(0))
    eventually(lambda: log.failing)
    assert "password authentication failed" in str(log.failing)
    assert (log.waiting, log.lost) == (1, 0)
    assert [record.message for record in caplog.records] == ["poems wait to be logged"]
    log.close()
    assert log.lost == 1
    assert "another-one" not in caplog.text


def test_a_url_that_is_no_good_shows_no_password() -> None:
    with pytest.raises(SettingsError, match="POEM_LOG_DB") as refused:
        Settings.from_env({"POEM_LOG_DB": "mysql://me:a-secret@host/db"})
    assert "a-secret" not in str(refused.value)
    assert "a-secret" not in repr(Settings.from_env({"POEM_LOG_DB": "postgresql://me:a-secret@host/db"}))
