import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from poem.composer import compose
from poem.deck import giveaway_terms
from poem.game import load_game
from poem.hand import deal, draw_candidates
from poem.rules import check
from poem_build.cli.main import cli
from poem_build.data.words import THREADS, Words, expected_words
from poem_build.recipe.teaching import Teaching
from poem_build.teacher.asking import AnswerError
from poem_build.teacher.money import FREE
from poem_build.teacher.protocol import Ask
from support.gemini_stand_in import KEY, GeminiStandIn, gemini
from support.scribe import scribe

BUILT_IN = Path(__file__).parents[3] / "game" / "poem" / "builtin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A game of two files alone: some of our cards under another name, and fewer titles."""
    folder = tmp_path / "small"
    folder.mkdir()
    cards = json.loads((BUILT_IN / "cards.json").read_text("utf-8"))
    chosen = [card for n, card in enumerate(cards) if n % 9 == 0 or card["category"] != cards[n - 1]["category"]]
    (folder / "cards.json").write_text(json.dumps(chosen, ensure_ascii=False), "utf-8")
    titles = json.loads((BUILT_IN / "catchphrases.json").read_text("utf-8"))[:24]
    (folder / "catchphrases.json").write_text(json.dumps(titles, ensure_ascii=False), "utf-8")
    return folder


@pytest.fixture
def server() -> Iterator[GeminiStandIn]:
    with gemini(scribe()) as standing:
        yield standing


def _fast(folder: Path) -> Path:
    """A recipe whose teacher may be asked as often as we like, written there."""
    recipe = folder / "fast.toml"
    text = (BUILT_IN.parents[2] / "build" / "recipes" / "tiny.toml").read_text("utf-8")
    base = BUILT_IN.parents[2] / "build" / "recipes" / "tiny-base"
    recipe.write_text(text.replace('"tiny-base"', f'"{base}"') + "[teacher]\nper_minute = 60000\n", "utf-8")
    return recipe


def _run(folder: Path, out: Path, server: GeminiStandIn, *options: str) -> dict[str, Any]:
    command = ["teacher", "run", "--what", "words", "--teacher", "gemini", "--game", str(folder), "--out", str(out)]
    environ = {"GEMINI_API_KEY": KEY, "GEMINI_BASE_URL": server.url}
    recipe = str(_fast(out.parent))
    done = CliRunner().invoke(cli, [*command, "--recipe", recipe, "--json", *options], env=environ)
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_games_folder_is_filled_and_its_composed_poems_keep_the_rules(
    folder: Path, tmp_path: Path, server: GeminiStandIn
) -> None:
    told = _run(folder, tmp_path / "out", server)
    game = load_game(folder)
    wordings = {one.id for card in game.deck.cards for one in card.poems}
    assert (told["wordings"], told["titles"], told["aside"]) == (len(wordings), 24, 0)
    assert game.sentences.wordings.keys() == wordings == game.values.keys()
    assert all(voices.keys() == set(THREADS) for voices in game.sentences.wordings.values())
    assert all(len(frames.each) == 2 and frames.thread in THREADS for frames in game.sentences.titles.values())
    rng = Random(1)
    for n in range(100):
        hand, titles = deal(game.deck, rng), draw_candidates(game.deck, rng)
        made = compose(game, hand, titles, n)
        assert not made.waived
        assert check(made.answer, hand, titles) == []
        own = {s.text for pair in hand.pairs for v in game.sentences.wordings[pair.wording.id].values() for s in v}
        assert sum(text in made.answer.poem for text in own) >= 5


def test_what_stands_there_is_not_asked_for_and_not_replaced(
    folder: Path, tmp_path: Path, server: GeminiStandIn
) -> None:
    game = load_game(folder)
    mine = {"at": 2, "text": "この文は、人が一字ずつ書きのこしたもので、だれにも替えられない。"}
    first = game.deck.cards[0].poems[0].id
    (folder / "sentences" / "wordings").mkdir(parents=True)
    by_hand = folder / "sentences" / "wordings" / "mine.json"
    by_hand.write_text(json.dumps({first: {"dusk": [mine]}}, ensure_ascii=False), "utf-8")
    (folder / "values.json").write_text(json.dumps({first: ["待つという成熟"]}, ensure_ascii=False), "utf-8")
    _run(folder, tmp_path / "out", server)
    written = load_game(folder)
    assert [s.text for s in written.sentences.wordings[first]["dusk"]] == [mine["text"]]
    assert written.values[first] == ("待つという成熟",)
    assert not any(f"言い換え {first}:" in question for question in server.asked)
    asked = len(server.asked)
    assert _run(folder, tmp_path / "out", server)["asked"] == 0
    assert len(server.asked) == asked


def test_a_budget_that_ends_leaves_what_was_paid_for_and_the_rest_follows(
    folder: Path, tmp_path: Path, server: GeminiStandIn
) -> None:
    command = ["teacher", "run", "--what", "words", "--teacher", "gemini", "--game", str(folder)]
    command += ["--recipe", str(_fast(tmp_path)), "--out", str(tmp_path / "out"), "--max-cost", "5"]
    environ = {"GEMINI_API_KEY": KEY, "GEMINI_BASE_URL": server.url}
    done = CliRunner().invoke(cli, command, env=environ)
    assert done.exit_code == 1
    assert "--max-cost" in done.output
    before = load_game(folder).sentences
    assert before.wordings
    _run(folder, tmp_path / "out", server)
    after = load_game(folder).sentences
    assert before.wordings.items() <= after.wordings.items()
    assert len(set(server.asked)) == len(server.asked)


def test_answers_are_taken_again_in_whatever_order_they_were_taken_first(folder: Path, tmp_path: Path) -> None:
    """The first card's first answer comes late and is too like the second's, which was taken by then."""
    write, (first, second, *_) = scribe(), Words(load_game(folder)).asks()
    theirs = write(second.system, second.user, 0)

    def answer(system: str, question: str, turns: int) -> str:
        if question == second.user:
            return theirs
        mine = write(system, question, turns)
        if question == first.user and not turns:
            time.sleep(0.5)
            return mine.replace(_sentence(json.loads(mine))["text"], _sentence(json.loads(theirs))["text"])
        return mine

    with gemini(answer) as server:
        assert _run(folder, tmp_path / "out", server)["aside"] == 0
        assert len(server.asked) == len(set(server.asked)) + 1
        shutil.rmtree(folder / "sentences")
        command = ["teacher", "run", "--what", "words", "--teacher", "gemini", "--game", str(folder), "--dry-run"]
        told = CliRunner().invoke(cli, [*command, "--out", str(tmp_path / "out")]).output
        assert told.splitlines()[-1] == f"now: nothing is asked; {len(set(server.asked))} are answered and taken over"
        assert _run(folder, tmp_path / "out", server)["asked"] == 0


@pytest.fixture
def asked(folder: Path) -> tuple[Words, Ask, dict[str, Any]]:
    """A card's question, and an answer that will do."""
    words = Words(load_game(folder))
    ask = words.asks()[0]
    return words, ask, json.loads(scribe()(ask.system, ask.user, 0))


def _sentence(answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = answer["wordings"][0]["sentences"][0]
    return found


def _set(**fields: Any) -> Any:
    return lambda answer, card: _sentence(answer).update(fields)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a, card: a["wordings"].pop(), "wordings: must be "),
        (lambda a, card: a["wordings"][0].update(values=["海"]), "values: one or two of "),
        (lambda a, card: a["wordings"][0].update(values=[]), "values: one or two of "),
        (_set(thread="rain"), "sentences: one for each of dusk, morning, seasons, way"),
        (_set(at=5), "at: from 0 to 4, got 5"),
        (_set(text="短い。"), "3 characters, not 27 to 34"),
        (_set(text="夕べの風が軒をくぐり、家の名を呼びながら奥の間まで灯を運ぶ"), "must end with 「。」"),
        (_set(text="夕べの風が軒をくぐる。家の名を呼びながら奥の間まで灯を運ぶ。"), "be one sentence"),
        (_set(text="夕べの風が軒をくぐり、家の名を呼びながら奥の間へ灯を運びます。"), "polite"),
        (
            _set(text="夕べの風が軒をくぐり、\n家の名を呼びながら奥の間へ灯を運ぶ。"),
            "paragraphs: paragraph 1: a line break",
        ),
        (
            lambda a, card: _sentence(a).update(
                text=f"夕べの風が軒をくぐり、{giveaway_terms(card)[0]}の名を呼んで灯を運ぶ。"
            ),
            "gives away or copies",
        ),
        (
            lambda a, card: _sentence(a).update(text=a["wordings"][1]["sentences"][1]["text"]),
            "stands twice in the answer",
        ),
        (lambda a, card: _sentence(a).update(at=1e999), "malformed: OverflowError"),
        (lambda a, card: a.clear(), "malformed: KeyError"),
    ],
)
def test_an_answer_with_a_fault_is_told_which(
    folder: Path, asked: tuple[Words, Ask, Any], spoil: Any, message: str
) -> None:
    words, ask, answer = asked
    spoil(answer, load_game(folder).deck.cards[0])
    with pytest.raises(AnswerError, match=message):
        words.read(ask, json.dumps(answer, ensure_ascii=False))


def _frame(answer: dict[str, Any]) -> list[str]:
    found: list[str] = answer["titles"][0]["frames"][0]
    return found


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a, title: a["titles"].pop(), "titles: must be those that were given"),
        (lambda a, title: a["titles"][0].update(thread="rain"), "thread: one of dusk, morning, seasons, way"),
        (lambda a, title: a["titles"][0]["frames"].pop(), "frames: 2 of them"),
        (lambda a, title: _frame(a).pop(1), "an opening, two turns and a closing, got 3 lines"),
        (lambda a, title: _frame(a).__setitem__(1, "門。"), "2 characters, not 5 to 14"),
        (lambda a, title: _frame(a).__setitem__(1, "街は引く。灯は差す。"), "be one sentence"),
        (lambda a, title: _frame(a).__setitem__(0, f"{title.rstrip('。')}に灯。"), "copies the title"),
        (
            lambda a, title: _frame(a).__setitem__(
                slice(None), ["門がひらく。", "灯が差す。", "窓が澄む。", "邸は夜ごと丘に眠りを敷いていく。"]
            ),
            "its four lines have 32 characters, not 45 to 66",
        ),
    ],
)
def test_an_answer_for_titles_with_a_fault_is_told_which(folder: Path, spoil: Any, message: str) -> None:
    words = Words(load_game(folder))
    ask = words.asks()[-1]
    title = ask.user.splitlines()[1].removeprefix("1. ")
    answer = json.loads(scribe()(ask.system, ask.user, 0))
    spoil(answer, title)
    with pytest.raises(AnswerError, match=message):
        words.read(ask, json.dumps(answer, ensure_ascii=False))


def test_nearly_the_same_as_what_was_written_before_is_told_and_ones_own_is_not(folder: Path) -> None:
    words = Words(load_game(folder))
    first, second, *_ = words.asks()
    write = scribe()
    one = write(first.system, first.user, 0)
    words.read(first, one)
    words.read(first, one)
    other = json.loads(write(second.system, second.user, 0))
    before = _sentence(json.loads(one))["text"]
    _sentence(other)["text"] = before.replace("街", "町")
    with pytest.raises(AnswerError, match=f"nearly the same as 「{before}」"):
        words.read(second, json.dumps(other, ensure_ascii=False))


def test_the_composer_writes_by_the_words_as_they_stand(folder: Path, tmp_path: Path, server: GeminiStandIn) -> None:
    out = tmp_path / "out"

    def written() -> str:
        command = ["teacher", "run", "--what", "table", "--teacher", "composer", "--hands", "12"]
        where = ["--recipe", str(_fast(tmp_path)), "--game", str(folder), "--out", str(out)]
        done = CliRunner().invoke(cli, [*command, *where])
        assert done.exit_code == 0, done.output
        return (out / "teacher" / "table.json").read_text("utf-8")

    without = written()
    _run(folder, out, server)
    before = written()
    assert before != without
    for path in (folder / "sentences" / "wordings").iterdir():
        path.write_text(path.read_text("utf-8").replace("、", "、ふと"), "utf-8")
    assert "、ふと" in written()
    assert "、ふと" not in before


def test_the_built_in_game_has_its_words(tmp_path: Path, server: GeminiStandIn) -> None:
    command = ["teacher", "run", "--what", "words", "--teacher", "composer", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 1
    assert "the built-in game has its words; give the folder of yours" in done.output


def test_what_words_take_counts_a_kept_prompt_once_and_its_storage(folder: Path) -> None:
    asks = Words(load_game(folder)).asks()
    sent, kept, batch = (
        expected_words(asks, Teaching(name="gemini", cache_ttl_s=ttl), FREE, batch=batch)
        for ttl, batch in [(0, False), (3600, False), (3600, True)]
    )
    assert kept.prompt + kept.cached == sent.prompt
    prompts = {ask.system for ask in asks}
    assert kept.stored == pytest.approx(sum(round(len(prompt) * 0.8) for prompt in prompts))  # an hour each
    assert batch == sent
