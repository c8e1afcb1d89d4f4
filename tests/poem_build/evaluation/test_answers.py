"""Answers on disk: each once, found again after a death, asked for as often as the service asks."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from poem.deck import Deck
from poem.game import builtin_game
from poem.hand import hand_of
from poem.shape import encode
from poem.table import Entry, Table, write_table
from poem_build.engine.openai import OpenAI
from poem_build.engine.protocol import Reply
from poem_build.errors import WriterError
from poem_build.evaluation import measures
from poem_build.evaluation.answers import Sheet, play, read_rows, write_rows
from poem_build.evaluation.hands import Trial
from poem_build.evaluation.names import LOCAL, WriterName, writer_names
from poem_build.evaluation.specimen import specimens
from poem_build.evaluation.writers import EngineWriter, Tabled
from poem_build.judge.protocol import MALFORMED
from support.judges import judges

GAME = builtin_game()


@dataclass
class Scripted:
    """Says what it was given to say, in turn; None dies."""

    texts: list[str | None]
    tries: int = 3
    seeds: list[int] = field(default_factory=list)

    def write(self, trial: Trial, seed: int) -> Reply | None:
        self.seeds.append(seed)
        text = self.texts.pop(0)
        if text is None:
            raise KeyboardInterrupt
        return Reply(text, "stop", seconds=2.0, tokens=10, prompt_s=0.5, tokens_s=1.0)


def _right(trials: list[Trial]) -> Iterator[str]:
    return (encode(trial.example.answer) for trial in trials)


def test_a_hand_is_asked_for_with_fresh_seeds_until_it_has_a_poem(there: list[Trial], tmp_path: Path) -> None:
    three = there[:3]
    right = list(_right(three))
    writer = Scripted([right[0], "x", right[1], "x", "x", "x"])
    sheet = play("model", writer, three, tmp_path)
    assert [[row.passed for row in rows] for rows in sheet.tries] == [[True], [False, True], [False] * 3]
    assert len(set(writer.seeds)) == 6
    assert [answer for _, _, answer in sheet.delivered] == [trial.example.answer for trial in three[:2]]
    assert sheet.first[1].broken == [MALFORMED]
    write_rows(tmp_path / "answers.jsonl", [sheet])
    rows = read_rows(tmp_path / "answers.jsonl")
    assert rows == [row for tries in sheet.tries for row in tries]
    assert rows[0].prompt.startswith("【選択されたカードペア】\n1. ")
    figures = {one.name: one.value for one in measures.measure(sheet, GAME).figures}
    assert [figures[name] for name in ("speed.answer", "speed.first", "speed.tokens")] == [2.0, 0.5, 10.0]
    assert [figures["pass.first"], figures["pass.delivered"]] == pytest.approx([1 / 3, 2 / 3], abs=1e-6)
    assert figures["points.counted"] < 70


def test_what_was_answered_before_a_death_is_not_asked_again(there: list[Trial], tmp_path: Path) -> None:
    three = there[:3]
    right = list(_right(three))
    with pytest.raises(KeyboardInterrupt):
        play("model", Scripted([right[0], right[1], None]), three, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-20])  # and the last line is torn
    writer = Scripted([right[1], right[2]])
    sheet = play("model", writer, three, tmp_path)
    assert (writer.texts, len(sheet.delivered)) == ([], 3)
    assert play("model", Scripted([]), three, tmp_path).tries == sheet.tries


def test_answers_are_on_disk_all_the_while_and_whole_whatever_stands_in_them(
    there: list[Trial], tmp_path: Path
) -> None:
    odd = "朝。\u2028夜。\u2029昼。\u0085"
    with pytest.raises(KeyboardInterrupt):
        play("model", Scripted([odd, odd, None], tries=1), there[:3], tmp_path)
    (file,) = tmp_path.iterdir()
    kept = file.read_bytes()

    class Looking(Scripted):
        def write(self, trial: Trial, seed: int) -> Reply | None:
            assert file.read_bytes() == kept
            return super().write(trial, seed)

    writer = Looking([odd], tries=1)
    sheet = play("model", writer, there[:3], tmp_path)
    assert (writer.texts, [row.text for row in sheet.first]) == ([], [odd] * 3)


def test_a_table_gives_what_it_holds_and_nothing_for_other_hands(there: list[Trial], tmp_path: Path) -> None:
    entry = Entry(there[1].example.hand, there[1].example.answer, "composed")
    sheet = _from_table([entry], GAME.deck, there[:2], tmp_path)
    assert [len(rows) for rows in sheet.tries] == [0, 1]
    assert measures.points_of(sheet)[0] is None


def test_a_table_s_poem_may_have_any_title_of_the_game_s(there: list[Trial], tmp_path: Path) -> None:
    """It was written before the hand's own titles were dealt; the service lets it through."""
    one = there[0].example
    other = next(title for title in GAME.deck.catchphrases if title not in one.candidates)
    sheet = _from_table([Entry(one.hand, replace(one.answer, title=other), "composed")], GAME.deck, there[:1], tmp_path)
    assert [answer.title for _, _, answer in sheet.delivered] == [other]
    assert [seen.broken for seen in specimens(sheet, [])] == [[]]


def test_a_table_s_poem_that_breaks_a_rule_is_passed_over(there: list[Trial], tmp_path: Path) -> None:
    """Say one under a title that the game had when the table was made; the next for these cards is taken."""
    one = there[0].example
    gone = replace(GAME.deck, catchphrases=(*GAME.deck.catchphrases, "去りし題"))
    ids = [(pair.card.id, next(w.id for w in pair.card.poems if w != pair.wording)) for pair in one.hand.pairs]
    worded = Entry(hand_of(GAME.deck, ids), one.answer, "composed")
    entries = [Entry(one.hand, replace(one.answer, title="去りし題"), "composed"), worded]
    for count, found in ((2, [one.answer]), (1, [])):
        sheet = _from_table(entries[:count], gone, there[:1], tmp_path / str(count))
        assert [row.answer for row in sheet.first] == found


def _from_table(entries: list[Entry], made_for: Deck, trials: list[Trial], room: Path) -> Sheet:
    """What a table with these poems, made for that deck, answers."""
    room.mkdir(exist_ok=True)
    write_table(room / "table.sqlite", entries, made_for)
    with closing(Table.open(room / "table.sqlite")) as table:
        return play("table", Tabled(table, GAME.deck.catchphrases), trials, room)


def test_any_server_in_the_openai_shape_writes(there: list[Trial], tmp_path: Path) -> None:
    with judges(lambda _, question: encode(there[0].example.answer)) as bench:
        for constrained in (True, False):
            writer = EngineWriter(OpenAI(f"{bench.url}/v1", "m", ""), GAME, constrained)
            sheet = play(f"openai:m {constrained}", writer, there[:1], tmp_path)
            assert [row.passed for row in sheet.first] == [True]
            assert (sheet.first[0].prompt_tokens, sheet.first[0].tokens) == (100, 10)
    with pytest.raises(WriterError, match=r"/v1/chat/completions: .*; check address, model and key"):
        play("gone", EngineWriter(OpenAI(f"{bench.url}/v1", "m", "key"), GAME, True), there[:1], tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("nobody",), "--writers nobody: nobody is called so; known are model, base, adapter, f16, "),
        (("ollama",), "--writers ollama: nobody is called so"),
        (("base:x",), "--writers base:x: nobody is called so"),
        (("base:",), "--writers base:: nobody is called so"),
        (("composer/free",), "--writers composer/free: composer is asked with no schema anyway; leave /free out"),
        (("base", "base"), "--writers: base is there twice"),
    ],
)
def test_a_writer_that_nobody_knows_is_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(WriterError, match=message):
        writer_names(names)


def test_those_that_are_known_are_not() -> None:
    texts = (*LOCAL, "base/free", "ollama:a:b/free", "embedded:x.gguf", "table:t", "openai:m")
    found = writer_names(texts)
    assert tuple(map(str, found)) == texts
    assert found[-4] == WriterName("ollama", "a:b", free=True)


def test_a_sheet_without_answers_has_no_figures(there: list[Trial]) -> None:
    found = measures.measure(Sheet("teacher", there, [[] for _ in there]), GAME)
    assert (found.figures, found.rules, found.groups, found.samples) == ([], [], [], [])
