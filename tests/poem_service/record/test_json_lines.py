"""The generation log as lines of a container's standard output."""

import json
import os
from pathlib import Path

import pytest

from poem.hand import Answer
from poem_service.errors import SettingsError
from poem_service.record import json_lines
from poem_service.record.generation_log import GenerationLog
from poem_service.record.json_lines import JsonLines
from poem_service.record.outcome import Outcome
from poem_service.settings import Settings
from support.served import a_hand, sent


def outcome(n: int) -> Outcome:
    return Outcome(a_hand(n), Answer("題", f"詩{n}\n行"), "composed", n, 0.25, request_id=f"request-{n}")


def test_each_poem_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "out").open("wb") as out:
        monkeypatch.setattr(json_lines, "STDOUT", out.fileno())
        log = GenerationLog(JsonLines())
        for n in range(30):
            log.add(outcome(n))
        log.close()
    found = [json.loads(line) for line in (tmp_path / "out").read_text("utf-8").splitlines()]
    assert [line["seed"] for line in found] == list(range(30))
    assert found[3]["request_id"] == "request-3"
    assert json.loads(found[3]["generated_poem"]) == {"title": "題", "poem": "詩3\n行"}
    assert json.loads(found[3]["selected_cards"]) == sent(a_hand(3))["selectedPairs"]
    assert (found[3]["generation_time_ms"], "id" in found[3], log.lost) == (250, False, 0)


def test_an_output_that_is_closed_costs_rows_and_they_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(json_lines, "STDOUT", writing)
    log = GenerationLog(JsonLines())
    log.add(outcome(1))
    log.close()
    os.close(writing)
    assert log.lost == 1


def test_workers_would_mix_their_lines() -> None:
    assert Settings.from_env({"POEM_LOG_DB": "-"}).log_db == "-"
    with pytest.raises(SettingsError, match="POEM_LOG_DB: - "):
        Settings.from_env({"POEM_LOG_DB": "-", "POEM_WORKERS": "2", "POEM_ENGINE": "none"})
