"""lm-eval: what it is told and what is read of it, by a stand-in; and the real one where it is installed."""

import importlib.util
import json
from pathlib import Path

import pytest

from poem.game import builtin_game
from poem_build.errors import HarnessError
from poem_build.evaluation import harness
from poem_build.evaluation.harness import Subject, Tried, Wish
from poem_build.store.artifact import Artifact
from support.lm_eval_stand_in import RESULTS, StandIn

GAME = builtin_game()
GGUF = "a" * 64


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    found = StandIn(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(found.folder))
    return found


def test_weights_are_asked_our_own_questions_and_what_was_found_is_kept(program: StandIn, tmp_path: Path) -> None:
    room = tmp_path / "room"
    tries = harness.run([Subject("base", tmp_path / "a, b")], Wish(limit=20), GAME, room, GGUF)
    ((arguments, questions),) = program.asked
    options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    assert (arguments[0], options["--model"], options["--tasks"]) == ("run", "hf", "mansion_wording,mansion_plain")
    assert json.loads(options["--model_args"]) == {"pretrained": str(tmp_path / "a, b"), "dtype": "float32"}
    assert (options["--limit"], questions) == ("20", ["plain.jsonl", "wording.jsonl"])
    assert {path.stem for path in Path(options["--include_path"]).iterdir()} >= {"mansion_wording", "mansion_plain"}
    assert tries.found[:2] == [
        Tried(task="mansion_wording", metric="acc", of="base", value=0.75, error=0.05, better="higher", count=20),
        Tried(task="mansion_plain", metric="bits_per_byte", of="base", value=1.5, error=None, better="lower", count=0),
    ]
    assert (tries.found[2].metric, tries.found[2].error, tries.found[2].better) == ("exact_match (letter)", 0.1, "")
    program.tell(RESULTS | {"results": {"mansion_wording": {"acc,none": 0.5}}})
    again = harness.run([Subject("base", tmp_path), Subject("merged", tmp_path)], Wish(), GAME, room, GGUF)
    assert [(one.of, one.value) for one in again.found] == [
        ("base", 0.5),
        ("base", 1.5),
        ("base", 0.25),
        ("merged", 0.5),
    ]
    assert harness.read(room, GGUF) == again
    assert harness.read(room, "b" * 64) is None


@pytest.mark.parametrize(
    ("path", "model", "tasks"),
    [
        ("/v1/completions", "local-completions", "mansion_wording,mansion_plain"),
        ("/v1/chat/completions", "local-chat-completions", "mansion_letter"),
    ],
)
def test_a_server_is_asked_what_it_can_answer(
    program: StandIn, tmp_path: Path, path: str, model: str, tasks: str
) -> None:
    url = f"http://127.0.0.1:8000{path}"
    harness.run([Subject("mansion-poem:mini", tmp_path, server=url)], Wish(), GAME, tmp_path / "room", GGUF)
    options = program.asked[0][0]
    assert options[options.index("--model") + 1] == model
    assert options[options.index("--tasks") + 1] == tasks
    assert ("--apply_chat_template" in options) == ("chat" in path)
    told = json.loads(options[options.index("--model_args") + 1])
    assert (told["model"], told["base_url"], told["tokenizer"]) == ("mansion-poem:mini", url, str(tmp_path))


def test_the_right_line_is_the_cards_own_and_the_others_are_not(tmp_path: Path) -> None:
    harness.write_questions(tmp_path, GAME)
    rows = [json.loads(line) for line in (tmp_path / "wording.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == len(GAME.deck.cards)
    for row, card in zip(rows, GAME.deck.cards, strict=True):
        own = {wording.poem_text for wording in card.poems}
        assert row["reality"] == card.condition_text
        assert [line in own for line in row["lines"]] == [n == row["right"] for n in range(4)]
    assert {row["right"] for row in rows} == {0, 1, 2, 3}


def test_what_went_wrong_is_said_in_a_line(program: StandIn, tmp_path: Path) -> None:
    program.tell("Traceback\nValueError: no such task")
    with pytest.raises(HarnessError, match=r"lm-eval\.log: lm-eval ended with 1: ValueError: no such task"):
        harness.run([Subject("base", tmp_path)], Wish(("nothing",)), GAME, tmp_path / "room", GGUF)
    assert harness.read(tmp_path / "room", GGUF) is None


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="lm-eval is installed here")
def test_where_it_is_not_installed_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HarnessError, match=r"lm-eval: not installed; `pip install 'lm-eval\[hf,api\]'`"):
        harness.run([Subject("base", tmp_path)], Wish(), GAME, tmp_path / "room", GGUF)


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed here")
def test_the_real_one_takes_our_tasks(chain: dict[str, Artifact], out: Path, tmp_path: Path) -> None:
    tries = harness.run([Subject("merged", out / "merged")], Wish(limit=4), GAME, tmp_path / "room", GGUF)
    assert [(one.task, one.metric, one.count) for one in tries.found] == [
        ("mansion_wording", "acc", 4),
        ("mansion_plain", "bits_per_byte", 4),
    ]
    assert tries.found[1].value > 1
