"""What a teacher is asked before an image is made, by a `poem-build` that writes down how it was called."""

import argparse
import json
import sys
from pathlib import Path

import pytest

from poem_build.errors import StackError
from poem_build.ship import containers
from poem_build.ship.teaching import Asked, add_options, asked, teach

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
    told = teach(CHOICE, "tiny-game", Asked("gemini", 1, 300, 50.0), own_game=True)
    assert told == ["--taught", "artifacts/tiny-game/teacher/poems"]
    common = ["teacher", "run", *CHOICE, "--teacher", "gemini", "--max-cost", "50.0"]
    assert [json.loads(line) for line in calls.read_text("utf-8").splitlines()] == [
        [*common, "--what", "words"],
        [*common, "--what", "poems", "--phase", "1"],
        [*common, "--what", "table", "--hands", "300"],
    ]


@pytest.mark.parametrize(("teacher", "own_game"), [("composer", True), ("gemini", False)])
def test_the_composer_and_the_built_in_game_need_no_words(calls: Path, teacher: str, own_game: bool) -> None:
    teach(CHOICE, "tiny", Asked(teacher, 0, 10, None), own_game=own_game)
    assert _whats(calls) == ["poems", "table"]


def test_what_fails_ends_it(calls: Path) -> None:
    with pytest.raises(StackError, match=r"poem-build teacher run .* --what words: status 1; the line above says why"):
        teach(CHOICE, "tiny-game", Asked("anthropic", 0, 10, None), own_game=True)
    assert _whats(calls) == ["words"]


def test_the_command_line_says_who_is_asked() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    assert asked(parser.parse_args([])) is None
    given = parser.parse_args(["--teacher", "gemini", "--phase", "2", "--max-cost", "99"])
    assert asked(given) == Asked("gemini", 2, 1000, 99.0)
