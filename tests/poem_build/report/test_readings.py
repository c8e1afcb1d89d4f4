"""The page for a blind reading: whole, unlabelled first, the same for the same seed."""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from poem.deck import builtin_deck
from poem.handwritten import handwritten
from poem_build.cli.main import cli
from poem_build.errors import RecipeError
from poem_build.recipe.schema import Recipe
from poem_build.report import readings
from poem_build.store.artifact import Artifact


def _parts(text: str) -> tuple[list[str], list[str]]:
    blind, labelled = text.split("## 名を明かして")
    return [re.findall(r"^\*\*(.+)\*\*", part, re.MULTILINE) for part in (blind, labelled)]  # type: ignore[return-value]


def test_the_page_shows_the_same_poems_blind_and_then_labelled(
    chain: dict[str, Artifact], out: Path, recipe: Recipe, tmp_path: Path
) -> None:
    told = readings.write([(recipe, out)], tmp_path / "docs" / "readings.md", 0)
    assert told == {"hands": 20, "authors": 3}
    text = (tmp_path / "docs" / "readings.md").read_text("utf-8")
    blind, labelled = _parts(text)
    assert [head[0] for head in blind] == ["A", "B", "C"] * 20
    assert [f"{head[0]} {head.split(': ', 1)[1]}" for head in labelled] == blind
    authors = [head[2:].split(": ", 1)[0] for head in labelled]
    assert [sorted(authors[n : n + 3]) for n in range(0, 60, 3)] == [sorted(["composer", "mini", "手書き"])] * 20
    assert len({tuple(authors[n : n + 3]) for n in range(0, 60, 3)}) > 3
    assert not any(
        name in text.split("## 名を伏せて")[1].split("## 名を明かして")[0] for name in ("composer", "mini", "手書き")
    )
    for poem in (one for one in handwritten() if one.held_out):
        assert text.count(f"> {poem.answer.poem.split(chr(10))[0]}") == 2
    readings.write([(recipe, out)], tmp_path / "again.md", 0)
    assert (tmp_path / "again.md").read_text("utf-8") == text


def test_another_seed_is_another_order_of_other_poems(tmp_path: Path) -> None:
    for seed in (0, 1):
        readings.write([], tmp_path / f"{seed}.md", seed)
    one, other = ((tmp_path / f"{seed}.md").read_text("utf-8") for seed in (0, 1))
    assert _parts(one)[1] != _parts(other)[1]


def test_the_title_that_was_written_is_among_the_candidates() -> None:
    for example in readings.held_out(0):
        assert example.answer.title in example.candidates
        assert len(set(example.candidates)) == 20
        assert set(example.candidates) <= set(builtin_deck().catchphrases)


def test_the_command_takes_recipes(
    chain: dict[str, Artifact], out: Path, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["readings", str(recipe_file)])
    assert done.exit_code == 1
    assert done.output == "Error: artifacts/mini/gguf: not there or unfinished; `poem-build run` makes it\n"
    assert not (tmp_path / "docs").exists()
    shutil.copytree(out, tmp_path / "artifacts" / "mini")
    done = CliRunner().invoke(cli, ["readings", str(recipe_file), "--to", "page.md"])
    assert (done.exit_code, done.output) == (0, "page.md: 20 hands, 3 poems each\n")


def test_more_models_than_letters_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="readings: 9 recipes; a page has letters for 8"):
        readings.write([(recipe, tmp_path)] * 9, tmp_path / "page.md", 0)
    assert not (tmp_path / "page.md").exists()
