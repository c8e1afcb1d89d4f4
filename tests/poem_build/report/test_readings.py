"""The page for a blind reading: whole, unlabelled first, the same for the same seed."""

import json
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from poem.composer import compose
from poem.game import Game, HandWritten, builtin_game
from poem.hand import draw_candidates
from poem.shape import encode
from poem_build.cli.main import cli
from poem_build.data.hands import hands
from poem_build.engine.protocol import Reply
from poem_build.errors import RecipeError
from poem_build.report import readings


@pytest.fixture(scope="module")
def game() -> Game:
    """The built-in one with five poems that are held out; what stands in them is nobody's business here."""
    ours = builtin_game()
    rng = Random(3)
    poems = []
    for hand in islice(hands(ours.deck, "test", rng), 5):
        answer = compose(ours, hand, draw_candidates(ours.deck, rng), 99).answer
        poems.append(HandWritten(hand, answer, held_out=True))
    return replace(ours, poems=tuple(poems))


def _replies(game: Game, seed: int) -> list[Reply]:
    """Answers that keep the rules, but for the last, which is none."""
    found = [
        Reply(encode(compose(game, one.hand, one.candidates, seed + 1000 + n).answer), "stop")
        for n, one in enumerate(readings.held_out(game, seed))
    ]
    return [*found[:-1], Reply("{", "length")]


def _parts(text: str) -> tuple[list[str], list[str]]:
    blind, labelled = text.split("## 名を明かして")
    return [re.findall(r"^\*\*(.+)\*\*", part, re.MULTILINE) for part in (blind, labelled)]  # type: ignore[return-value]


def test_the_page_shows_the_same_poems_blind_and_then_labelled(game: Game, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "readings.md"
    told = readings.write("the command", game, {"mini": _replies(game, 0)}, page, 0)
    assert told == {"hands": 5, "authors": 3}
    text = page.read_text("utf-8")
    assert "`the command`" in text
    blind, labelled = _parts(text)
    assert [head[0] for head in blind] == ["A", "B", "C"] * 5
    assert [f"{head[0]} {head.split(': ', 1)[1]}" for head in labelled] == blind
    authors = [head[2:].split(": ", 1)[0] for head in labelled]
    assert [sorted(authors[n : n + 3]) for n in range(0, 15, 3)] == [sorted(["composer", "mini", "手書き"])] * 5
    assert len({tuple(authors[n : n + 3]) for n in range(0, 15, 3)}) > 2
    assert not any(
        name in text.split("## 名を伏せて")[1].split("## 名を明かして")[0] for name in ("composer", "mini", "手書き")
    )
    for poem in game.poems:
        assert text.count(f"> {poem.answer.poem.split(chr(10))[0]}") >= 2
    assert text.count("(形にならなかった答え)") == 2
    readings.write("the command", game, {"mini": _replies(game, 0)}, tmp_path / "again.md", 0)
    assert (tmp_path / "again.md").read_text("utf-8") == text


def test_another_seed_is_another_order_of_other_poems(game: Game, tmp_path: Path) -> None:
    for seed in (0, 1):
        readings.write("", game, {}, tmp_path / f"{seed}.md", seed)
    one, other = ((tmp_path / f"{seed}.md").read_text("utf-8") for seed in (0, 1))
    assert _parts(one)[1] != _parts(other)[1]


def test_the_title_that_was_written_is_among_the_candidates(game: Game) -> None:
    for example in readings.held_out(game, 0):
        assert example.answer.title in example.candidates
        assert len(set(example.candidates)) == 20
        assert set(example.candidates) <= set(game.deck.catchphrases)


def _folder(game: Game, folder: Path) -> Path:
    """The game as a folder of somebody's."""
    folder.mkdir()
    (folder / "cards.json").write_text(json.dumps([card.as_json() for card in game.deck.cards]), "utf-8")
    (folder / "catchphrases.json").write_text(json.dumps(list(game.deck.catchphrases)), "utf-8")
    lines = [
        json.dumps({"pairs": p.hand.ids(), "title": p.answer.title, "poem": p.answer.poem, "held_out": p.held_out})
        for p in game.poems
    ]
    (folder / "poems.jsonl").write_text("\n".join(lines), "utf-8")
    return folder


@pytest.mark.usefixtures("out")  # a base that is there: what is missing is the game's model
def test_the_command_takes_recipes_and_a_game(
    game: Game, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [str(recipe_file), "--game", str(_folder(game, tmp_path / "Our Game"))]
    done = CliRunner().invoke(cli, ["readings", *options])
    assert done.exit_code == 1
    told = "quantize: dataset has to be made first (not made yet); `poem-build run` makes it"
    assert done.output == f"Error: artifacts/mini-our-game/gguf: {told}\n"
    assert not (tmp_path / "docs").exists()


def test_a_game_without_poems_that_are_held_out_is_refused(game: Game) -> None:
    readings.check_authors(8, game)
    with pytest.raises(RecipeError, match="the game has no poems by hand that are held out"):
        readings.check_authors(1, replace(game, poems=()))


def test_more_models_than_letters_are_refused(game: Game) -> None:
    with pytest.raises(RecipeError, match="readings: 9 recipes; a page has letters for 8"):
        readings.check_authors(9, game)
