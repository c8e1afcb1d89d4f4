"""`poem-service doctor` over real services: one that runs, one started for the occasion, and every way to be ill."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from poem.game import builtin_game
from poem.hand import Hand, Pair
from poem.model_keys import BELOW_COMPOSER
from poem.rules import check
from poem.table import Entry, Table, write_table
from poem_service.doctor.examine import examine
from poem_service.doctor.report import Report, State, as_text, support_file, without_secrets
from poem_service.errors import Reason
from poem_service.record.remedies import REMEDIES
from poem_service.variables import SECRETS
from support.ollama_stand_in import OllamaStandIn, slow_drip, too_short
from support.process import ROOT, free_port, service
from support.served import a_hand, break_a_page, whole_table

ENGINELESS = {"POEM_ENGINE": "none"}
LOST = re.compile(r"(?m)^poem_log_rows_lost_total [1-9]")


def found(report: Report) -> dict[str, State]:
    return {check.name: check.state for check in report.checks}


def seen(report: Report, name: str) -> str:
    return next(check.seen for check in report.checks if check.name == name)


def remedy(report: Report, name: str) -> str:
    return next(check.remedy for check in report.checks if check.name == name)


def alone(**environ: str) -> dict[str, str]:
    """Settings under which nothing runs yet."""
    return {"POEM_PORT": str(free_port()), **environ}


async def examined(environ: dict[str, str], wait_s: float = 20.0) -> Report:
    """Every report is held to this: what is wrong says what to do."""
    report = await examine(environ, wait_s)
    assert all(check.remedy for check in report.checks if check.state is not State.OK)
    assert report.ok == (State.BAD not in found(report).values())
    return report


async def test_a_running_service_with_a_model_is_well() -> None:
    async with OllamaStandIn(loaded=False, load_s=0.3) as ollama:
        environ = {"OLLAMA_HOST": ollama.url, "POEM_ENGINE": "ollama"}
        async with service(environ, stop=signal.SIGINT) as (url, _):
            report = await examined(environ | {"POEM_PORT": url.rpartition(":")[2]})
        names = ["settings", "deck", "table", "service", "model", "prompt", "gpu", "hand", "cold", "warm"]
        assert found(report) == dict.fromkeys(names, State.OK)
        assert ollama.loads == 1
    assert "mansion-poem:latest（ollama" in seen(report, "model")
    assert seen(report, "gpu") == "モデルの 25% が GPU にあります"
    assert float(seen(report, "cold").split()[1]) >= 0.3
    assert report.played is not None
    assert (report.played.source, report.played.violations) == ("model", ())
    assert report.metrics is not None
    assert 'poem_answers_total{reason="",source="model"} 2.0' in report.metrics


def is_kept(log: Path) -> bool:
    """Whether a poem is in that log."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as db:
        return bool(db.execute("SELECT count(*) FROM generation_logs").fetchone()[0])
    return False


async def test_poems_that_are_not_kept_are_a_fault(tmp_path: Path) -> None:
    log = tmp_path / "log.sqlite3"
    for broken in (False, True):
        environ = ENGINELESS | {"POEM_LOG_DB": str(log)}
        async with service(environ, stop=signal.SIGINT) as (url, _):
            if broken:
                log.write_bytes(b"no database" * 100)
            report = await examined(environ | {"POEM_PORT": url.rpartition(":")[2]})
            async with asyncio.timeout(30), httpx.AsyncClient(trust_env=False) as client:
                while not (is_kept(log) or LOST.search((await client.get(f"{url}/metrics")).text)):
                    await asyncio.sleep(0.02)
            again = await examined(environ | {"POEM_PORT": url.rpartition(":")[2]})
        assert report.played is not None
        assert found(again)["log"] is (State.BAD if broken else State.OK)
        assert seen(again, "log").startswith(str(log))


async def test_poems_that_wait_for_their_database_are_a_fault() -> None:
    pytest.importorskip("psycopg")
    environ = ENGINELESS | {"POEM_LOG_DB": f"postgresql://me:a-secret@127.0.0.1:{free_port()}/db"}
    async with service(environ, stop=signal.SIGINT) as (url, _):
        report = await examined(environ | {"POEM_PORT": url.rpartition(":")[2]})
    assert found(report)["log"] is State.BAD
    assert "2 篇が待っています" in seen(report, "log")
    assert "a-secret" not in seen(report, "log")


async def test_a_lost_gpu_is_a_fault() -> None:
    async with OllamaStandIn(size_vram=0) as ollama:
        environ = {"OLLAMA_HOST": ollama.url, "POEM_ENGINE": "ollama", "POEM_GPU": "expected"}
        async with service(environ, stop=signal.SIGINT) as (url, _):
            report = await examined(environ | {"POEM_PORT": url.rpartition(":")[2]})
    assert found(report)["gpu"] is State.BAD


async def test_a_service_that_asks_for_a_key_is_asked_with_it() -> None:
    environ = ENGINELESS | {"POEM_API_KEY": "a-key-of-the-stand"}
    async with service(environ, stop=signal.SIGINT) as (url, _):
        port = {"POEM_PORT": url.rpartition(":")[2]}
        assert (await examined(environ | port)).ok
        for other in ({}, {"POEM_API_KEY": "a-key-of-another"}):
            report = await examined(ENGINELESS | port | other)
            assert found(report)["service"] is State.BAD
            seen_of = f"{port['POEM_PORT']} 番ポートで動いています。ただし、POEM_API_KEY の値が、サービスの鍵と違います"
            assert seen(report, "service") == seen_of
            assert report.played is None


async def test_where_none_runs_one_is_started_for_the_occasion(tmp_path: Path) -> None:
    log = tmp_path / "log.sqlite3"
    report = await examined(alone(**ENGINELESS, POEM_LOG_DB=str(log)))
    assert report.ok
    assert found(report)["service"] is State.NOTE
    assert found(report)["model"] is State.NOTE
    assert report.played is not None
    assert report.played.source == "composed"
    assert not log.exists()


async def test_settings_that_stop_the_start_are_named() -> None:
    report = await examined({"POEM_DEADLINE_S": "forever"})
    assert found(report) == {"settings": State.BAD}
    assert seen(report, "settings").startswith("POEM_DEADLINE_S: 'forever' is not allowed")


async def test_a_misspelt_setting_is_noticed() -> None:
    report = await examined(alone(**ENGINELESS, POEM_TABEL="x"))
    assert found(report)["settings"] is State.NOTE
    assert "POEM_TABEL" in seen(report, "settings")


async def test_a_broken_deck_and_a_broken_table_are_both_named(tmp_path: Path) -> None:
    cards, table = tmp_path / "cards.json", tmp_path / "poems.sqlite3"
    cards.write_text("[", "utf-8")
    table.write_bytes(b"SQLite format 3\0" + bytes(400))
    report = await examined(alone(**ENGINELESS, POEM_DECK=str(cards), POEM_TABLE=str(table)))
    assert found(report) == {
        "settings": State.OK,
        "deck": State.BAD,
        "table": State.BAD,
        "service": State.BAD,
    }
    assert seen(report, "deck").startswith(f"POEM_DECK: {cards}: line 1")
    assert str(table) in seen(report, "table")


async def test_a_table_with_a_broken_page_is_found_though_it_opens(tmp_path: Path) -> None:
    table = whole_table(tmp_path, hands=40)
    break_a_page(table)
    Table.open(table).close()
    report = await examined(alone(**ENGINELESS, POEM_TABLE=str(table)))
    assert found(report)["table"] is State.BAD


async def test_a_table_with_a_row_that_holds_no_hand_is_found(tmp_path: Path) -> None:
    table = whole_table(tmp_path)
    with closing(sqlite3.connect(table)) as db, db:
        db.execute("UPDATE poems SET pairs = 'null'")
    report = await examined(alone(**ENGINELESS, POEM_TABLE=str(table)))
    assert found(report)["table"] is State.BAD
    assert "pairs: 'null'" in seen(report, "table")


async def test_a_table_that_the_first_look_finds_broken_stops_the_start_in_one_line(tmp_path: Path) -> None:
    table = whole_table(tmp_path, hands=400)
    data = table.read_bytes()
    page = int.from_bytes(data[16:18], "big")
    table.write_bytes(data[:page] + b"\xff" * (len(data) - page))
    environ = os.environ | alone(**ENGINELESS, POEM_TABLE=str(table))
    command = [sys.executable, "-m", "poem_service"]
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"poem-service: POEM_TABLE: {table}: ")
    assert done.stderr.count("\n") == 1


async def test_a_table_of_another_deck_is_noticed(tmp_path: Path) -> None:
    table = whole_table(tmp_path)
    deck = [card.as_json() for card in builtin_game().deck.cards]
    changed = a_hand(1).pairs[0].card.id
    next(card for card in deck if card["id"] == changed)["condition_text"] = "駅から遠い"
    cards = tmp_path / "cards.json"
    cards.write_text(json.dumps(deck, ensure_ascii=False), "utf-8")
    report = await examined(alone(**ENGINELESS, POEM_TABLE=str(table), POEM_DECK=str(cards)))
    assert found(report)["table"] is State.NOTE
    assert changed in seen(report, "table")
    whole = await examined(alone(**ENGINELESS, POEM_TABLE=str(table)))
    assert seen(whole, "table") == f"5 篇（{table}）"


async def test_a_deck_that_changed_under_a_running_service_is_noticed(tmp_path: Path) -> None:
    titles = tmp_path / "catchphrases.json"
    titles.write_text(json.dumps(builtin_game().deck.catchphrases[:30], ensure_ascii=False), "utf-8")
    environ = ENGINELESS | {"POEM_CATCHPHRASES": str(titles)}
    async with service(environ, stop=signal.SIGINT) as (url, _):
        environ["POEM_PORT"] = url.rpartition(":")[2]
        assert found(await examined(environ))["service"] is State.OK
        titles.write_text(json.dumps(builtin_game().deck.catchphrases[:31], ensure_ascii=False), "utf-8")
        report = await examined(environ)
    assert found(report)["service"] is State.NOTE
    assert report.ok


async def test_a_port_that_another_program_has_is_told_from_a_service_that_is_down() -> None:
    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(stranger, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        report = await examined(ENGINELESS | {"POEM_PORT": str(port)})
    assert found(report)["service"] is State.BAD
    assert f"{port} 番ポート" in seen(report, "service")
    assert report.played is not None  # the rest was looked at all the same


async def test_no_ollama_is_red_with_what_to_do_and_the_hand_is_answered() -> None:
    report = await examined(alone(POEM_ENGINE="ollama", OLLAMA_HOST=f"127.0.0.1:{free_port()}"), wait_s=0.5)
    assert found(report)["model"] is State.BAD
    assert remedy(report, "model") == REMEDIES[Reason.UNREACHABLE][1]
    assert found(report)["hand"] is State.OK
    assert "その場で組み立てて答えています" in seen(report, "hand")


async def test_a_model_that_is_not_there_is_not_waited_for() -> None:
    async with OllamaStandIn(models=("another:latest",)) as ollama, asyncio.timeout(30):
        report = await examined(alone(POEM_ENGINE="ollama", OLLAMA_HOST=ollama.url), wait_s=600)
    assert found(report)["model"] is State.BAD
    assert remedy(report, "model") == REMEDIES[Reason.MODEL_MISSING][1]


async def test_a_model_below_the_composer_is_a_note_and_not_waited_for() -> None:
    async with OllamaStandIn(verdict=BELOW_COMPOSER) as ollama, asyncio.timeout(30):
        environ = alone(POEM_ENGINE="ollama", OLLAMA_HOST=ollama.url, POEM_WRITER="auto")
        report = await examined(environ, wait_s=600)
    assert report.ok
    assert found(report)["model"] is State.NOTE
    assert seen(report, "model") == REMEDIES[Reason.BELOW_COMPOSER][0]
    assert found(report)["hand"] is State.OK


async def test_a_model_that_is_too_slow_is_red() -> None:
    async with OllamaStandIn(behave=slow_drip) as ollama:
        environ = alone(POEM_ENGINE="ollama", OLLAMA_HOST=ollama.url, POEM_DEADLINE_S="1")
        report = await examined(environ, wait_s=60)
    assert found(report)["model"] is State.BAD
    assert remedy(report, "model") == REMEDIES[Reason.TOO_SLOW][1]


async def test_a_model_taught_with_another_prompt_is_red() -> None:
    async with OllamaStandIn(version="0123456789ab") as ollama:
        report = await examined(alone(POEM_ENGINE="ollama", OLLAMA_HOST=ollama.url))
    assert found(report)["prompt"] is State.BAD
    assert "0123456789ab" in seen(report, "prompt")


async def test_a_model_that_breaks_the_rules_is_told_with_the_hand() -> None:
    async with OllamaStandIn(behave=too_short) as ollama:
        report = await examined(alone(POEM_ENGINE="ollama", OLLAMA_HOST=ollama.url))
    assert found(report)["hand"] is State.NOTE
    assert REMEDIES[Reason.RULES][0] in seen(report, "hand")


async def test_a_stand_that_deals_what_is_prepared_is_well() -> None:
    async with OllamaStandIn() as ollama:
        report = await examined(alone(POEM_ENGINE="ollama", OLLAMA_HOST=ollama.url, POEM_DEAL="prepared"))
    assert seen(report, "table") == f"{len(builtin_game().poems)} 篇（ゲームの poems.jsonl）"
    assert found(report)["hand"] is State.OK
    assert "前もって書かれた詩が答えています（モデル mansion-poem:latest も控えています）" in seen(report, "hand")


async def test_a_poem_of_our_cards_is_held_to_their_own_terms(tmp_path: Path) -> None:
    """Their text has words that give nothing away: of 520 poems by hand 19 have such a one."""
    game = builtin_game()
    for one in game.poems:
        bare = Hand(tuple(Pair(replace(pair.card, terms=()), pair.wording) for pair in one.hand.pairs))
        if check(one.answer, bare, game.deck.catchphrases):
            break
    write_table(tmp_path / "t", [Entry(one.hand, one.answer, "hand")], game.deck)
    settings = {"POEM_TABLE": str(tmp_path / "t"), "POEM_DEAL": "prepared"}
    report = await examined(alone(**ENGINELESS, **settings))
    assert report.played is not None
    assert (report.played.answer, report.played.violations) == (one.answer, ())
    assert found(report)["hand"] is State.OK


def test_every_reason_has_its_remedy() -> None:
    assert REMEDIES.keys() == set(Reason)
    assert all(remedy.endswith("。") for _, remedy in REMEDIES.values())


async def test_the_text_marks_each_line_and_puts_the_remedy_under_it() -> None:
    report = Report()
    report.add("deck", State.OK, "89 枚")
    report.add("model", State.BAD, "ありません", "入れ直してください。")
    assert as_text(report, coloured=False) == "○ 札: 89 枚\n× モデル: ありません\n   → 入れ直してください。"
    assert as_text(report, coloured=True).splitlines()[1] == "\x1b[31m× モデル: ありません\x1b[0m"


async def test_the_file_to_send_holds_everything_but_secrets() -> None:
    environ = alone(**ENGINELESS, POEM_API_KEY='a"key/of-the-stand', OLLAMA_HOST="http://user:word@127.0.0.1:9")
    text = support_file(await examined(environ), environ)
    sent: dict[str, Any] = json.loads(text)
    assert sent["report"]["ok"] is True
    assert sent["settings"]["POEM_API_KEY"] == "(not shown)"
    assert sent["settings"]["OLLAMA_HOST"] == "http://(not shown)@127.0.0.1:9"
    assert sent["versions"]["mansion-poem"]
    assert sent["ready"]["answers_from"] == "table"
    assert any(line.startswith("poem_answers_total") for line in sent["metrics"])
    assert "key/of" not in text
    assert "user:word" not in text


@pytest.mark.parametrize("host", ["us:word@127.0.0.1", "http://us:wo/rd@127.0.0.1:9", "ftp://us:wo rd@h"])
async def test_a_password_is_in_no_part_of_what_the_doctor_says(host: str) -> None:
    """Of a value that is refused as little as of one that is taken."""
    environ = alone(POEM_ENGINE="none", OLLAMA_HOST=host)
    report = await examined(environ, wait_s=0)
    for text in (as_text(report, coloured=False), json.dumps(report.as_json()), support_file(report, environ)):
        assert "rd@" not in text


async def test_a_setting_without_effect_is_told() -> None:
    report = await examined(alone(POEM_ENGINE="none", POEM_OPENAI_URL="http://h"), wait_s=0)
    assert found(report)["settings"] is State.NOTE
    assert "POEM_OPENAI_URL" in seen(report, "settings")


def test_no_secret_is_left_in_any_text() -> None:
    for name in SECRETS:
        assert without_secrets("it is hush-hush, is it", {name: "hush-hush"}) == "it is (not shown), is it"


def run(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    paths = os.pathsep.join(str(ROOT / part) for part in ("game", "service"))
    return subprocess.run(
        [sys.executable, "-m", "poem_service", "doctor", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": paths, **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )


async def test_the_command_prints_lines_json_or_the_file_and_says_it_by_its_status(tmp_path: Path) -> None:
    well, ill = alone(**ENGINELESS), alone(POEM_ENGINE="ollama", OLLAMA_HOST=f"127.0.0.1:{free_port()}")
    lines = run(**well)
    assert (lines.returncode, lines.stderr) == (0, "")
    assert lines.stdout.startswith("○ 設定: POEM_PORT, POEM_ENGINE\n○ 札: 89 枚")
    told = run("--json", "--wait", "0", **ill)
    assert (told.returncode, told.stderr) == (1, "")
    assert json.loads(told.stdout)["ok"] is False
    assert json.loads(told.stdout)["hand"]["source"] == "composed"
    path = tmp_path / "support.json"
    assert run("--support", str(path), **well).returncode == 0
    assert json.loads(path.read_text("utf-8"))["report"]["ok"] is True
    assert json.loads(run("--support", "-", **well).stdout)["report"]["ok"] is True
    refused = run("--support", str(tmp_path / "no" / "file"), **well)
    assert refused.returncode == 2
    assert refused.stderr.endswith("give a path to write to\n")


async def test_one_hand_is_played_and_says_who_answered() -> None:
    async with OllamaStandIn() as ollama:
        environ = {"POEM_ENGINE": "ollama", "OLLAMA_HOST": ollama.url}
        async with service(environ, stop=signal.SIGINT) as (url, _):
            environ["POEM_PORT"] = url.rpartition(":")[2]
            played = await asyncio.to_thread(run, "--hand", **environ)
    assert (played.returncode, played.stderr) == (0, "")
    assert played.stdout.startswith("「")
    assert played.stdout.endswith("\n\nモデルが答えています（mansion-poem:latest）\n")
    async with service(ENGINELESS) as (url, _):
        played = await asyncio.to_thread(run, "--hand", POEM_PORT=url.rpartition(":")[2], **ENGINELESS)
    assert played.stdout.endswith("\n\nその場で組み立てて答えています（モデルを動かすものがありません）\n")
    nobody = run("--hand", "--wait", "0", **alone(**ENGINELESS))
    assert nobody.returncode == 1
    assert nobody.stderr == "poem-service: サービスが答えません。起動してから、もう一度試してください。\n"
