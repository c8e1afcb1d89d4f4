"""What a teacher is asked before an image is made: by a `poem-build` that notes how it was called, and by the real."""

import argparse
import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from poem.game import load_game
from poem.table import Table
from poem_build.data import table
from poem_build.errors import StackError
from poem_build.ship import containers
from poem_build.ship.teaching import TABLE, TeacherChoice, add_options, asked, room, teach
from support.gemini_stand_in import KEY, gemini, poet
from support.scribe import scribe

ROOT = Path(__file__).parents[3]
REAL = Path(__file__).parents[4] / "shared" / "data" / "game"
CHOICE = ["--recipe", "tiny", "--game", "/a/game"]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that it writes to; it fails where `words` are asked of `anthropic`."""
    command, log = tmp_path / ".venv" / "bin" / "poem-build", tmp_path / "calls.jsonl"
    command.parent.mkdir(parents=True)
    command.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"open({str(log)!r}, 'a').write(json.dumps(sys.argv[1:]) + chr(10))\n"
        "sys.exit('anthropic' in sys.argv and 'words' in sys.argv)\n",
        "utf-8",
    )
    command.chmod(0o755)
    monkeypatch.setattr(containers, "ROOT", tmp_path)
    return log


def _whats(calls: Path) -> list[str]:
    lines = [json.loads(line) for line in calls.read_text("utf-8").splitlines()]
    return [line[line.index("--what") + 1] for line in lines]


def test_words_come_first_then_poems_and_a_table(calls: Path) -> None:
    told = teach(CHOICE, "tiny-game", TeacherChoice("gemini", 1, 300, 50.0), own_game=True)
    assert told == ["--taught", "artifacts/tiny-game/teacher/poems"]
    common = ["teacher", "run", *CHOICE, "--teacher", "gemini", "--max-cost", "50.0"]
    assert [json.loads(line) for line in calls.read_text("utf-8").splitlines()] == [
        [*common, "--what", "words"],
        [*common, "--what", "poems", "--phase", "1"],
        [*common, "--what", "table", "--hands", "300"],
    ]


@pytest.mark.parametrize(("teacher", "own_game"), [("composer", True), ("gemini", False)])
def test_the_composer_and_the_built_in_game_need_no_words(calls: Path, teacher: str, own_game: bool) -> None:
    teach(CHOICE, "tiny", TeacherChoice(teacher, 0, 10, None), own_game=own_game)
    assert _whats(calls) == ["poems", "table"]


def test_what_fails_ends_it(calls: Path) -> None:
    with pytest.raises(StackError, match=r"poem-build teacher run .* --what words: status 1; the line above says why"):
        teach(CHOICE, "tiny-game", TeacherChoice("anthropic", 0, 10, None), own_game=True)
    assert _whats(calls) == ["words"]


def _poem_build(root: Path) -> Path:
    """The real command, where a checkout has it."""
    command = root / ".venv" / "bin" / "poem-build"
    command.parent.mkdir(parents=True)
    command.write_text(f"#!{sys.executable}\nfrom poem_build.cli.main import main\nmain()\n", "utf-8")
    command.chmod(0o755)
    return command


@pytest.mark.long
def test_two_files_become_words_a_data_set_and_the_table_of_a_stand(
    tmp_path: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real game's, where they are there; killed and begun anew, it pays for nothing twice."""
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not there")
    folder = tmp_path / "game"
    shutil.copytree(REAL, folder)
    recipe = tmp_path / "mini.toml"
    recipe.write_text(recipe_file.read_text("utf-8") + "[teacher]\nper_minute = 60000\n", "utf-8")
    monkeypatch.setattr(containers, "ROOT", tmp_path)
    command, choice = _poem_build(tmp_path), ["--recipe", str(recipe), "--game", str(folder)]
    words, poems = scribe(), poet(load_game(folder))

    def write(system: str, question: str, turns: int) -> str:
        return (poems if question.startswith("【選択されたカードペア】") else words)(system, question, turns)

    with gemini(write) as server:
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        monkeypatch.setenv("GEMINI_BASE_URL", server.url)
        taught = teach(choice, "mini-game", TeacherChoice("gemini", 0, 50, 500.0), own_game=True)
        asked = len(server.asked)
        assert teach(choice, "mini-game", TeacherChoice("gemini", 0, 50, 500.0), own_game=True) == taught
        assert len(server.asked) == asked
    subprocess.run([command, "dataset", *choice, *taught], cwd=tmp_path, check=True)
    made = json.loads((tmp_path / "artifacts" / "mini-game" / "dataset" / "dataset.json").read_text("utf-8"))
    assert (made["teacher"], made["splits"]["train"]["examples"]) == ("gemini", 80)
    game = load_game(folder)
    assert game.values.keys() == {wording.id for card in game.deck.cards for wording in card.poems}
    written = tmp_path / room("mini-game") / TABLE
    table.build_for_stand(game, tmp_path / "poems.sqlite", 5000, 0, written)
    with closing(Table.open(tmp_path / "poems.sqlite")) as there:
        assert [entry.source for entry in there.entries(game.deck)] == ["gemini"] * 50


def test_the_command_line_says_who_is_asked() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    assert asked(parser.parse_args([])) is None
    given = parser.parse_args(["--teacher", "gemini", "--phase", "2", "--max-cost", "99"])
    assert asked(given) == TeacherChoice("gemini", 2, 1000, 99.0)
    given = parser.parse_args(["--teacher", "openai", "--teacher-model", "a model", "--batch"])
    assert asked(given) == TeacherChoice("openai", 0, 1000, None, "a model", batch=True)


def test_a_model_and_batches_reach_the_command(calls: Path) -> None:
    teach(CHOICE, "tiny", TeacherChoice("openai", 0, 10, None, "a model", batch=True), own_game=False)
    common = ["teacher", "run", *CHOICE, "--teacher", "openai", "--model", "a model", "--batch"]
    assert [json.loads(line)[: len(common)] for line in calls.read_text("utf-8").splitlines()] == [common] * 2


def test_make_hands_on_what_was_said_of_a_teacher() -> None:
    said = ["TEACHER=openai", "TEACHER_MODEL=a model", "BATCH=1"]
    told = subprocess.run(["make", "-n", "image", *said], cwd=ROOT, check=True, capture_output=True, text=True)
    assert '--teacher openai --teacher-model "a model" --batch' in told.stdout
