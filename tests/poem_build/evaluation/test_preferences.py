"""Planted answers → pairs: the rules first, then the judge or the lexicon; nothing twice, nothing of a tie."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, product
from pathlib import Path

import pytest

from poem.game import builtin_game, load_game
from poem.hand import Answer, Hand, Pair
from poem.outline import Outline, encode_outline, outline_of
from poem.pattern import pattern_key
from poem.prompt import render_outlined_prompt
from poem.shape import decode, encode
from poem.store import store
from poem_build.data.hands import split_of
from poem_build.engine.protocol import Question, Reply
from poem_build.evaluation import preferences, rivals
from poem_build.evaluation.hands import Trial, trials
from poem_build.evaluation.jury import Juror
from poem_build.evaluation.preferences import Outcomes
from poem_build.evaluation.rivals import Rival, Round
from poem_build.evaluation.writers import EngineWriter
from poem_build.models.family import family
from poem_build.models.load import load_tokenizer
from poem_build.recipe.schema import RECIPES
from poem_build.teacher.chat import OpenAI
from poem_build.teacher.journal import About
from poem_build.teacher.money import FREE
from poem_build.train.preferences import read_preferences
from support.course import spec_of
from support.gemini_stand_in import poet
from support.judges import Bench, first_come, judges, nonsense, reader

GAME = builtin_game()
ABOUT = About(GAME.deck.digest, GAME.prompt_version, "model", "a")
WRITE = poet(GAME)


def _length(text: str) -> int:
    return len("".join(json.loads(text).values()))


class Scripted:
    """Says for each hand, in turn: two poems within the rules, one of these again, one that breaks a rule, one cut."""

    tries = 1

    def __init__(self, dies_at: int | None = None) -> None:
        self.dies_at, self.seeds = dies_at, list[int]()

    def write(self, trial: Trial, seed: int) -> Reply:
        place = len(self.seeds) % 5
        if len(self.seeds) == self.dies_at:
            raise KeyboardInterrupt
        self.seeds.append(seed)
        asked = trial.example.question(GAME)[1]["content"]
        right = WRITE("", asked, place)
        if place == 1:  # whoever goes by the length is to have something to choose
            first = _length(WRITE("", asked, 0))
            right = next(text for text in (WRITE("", asked, n) for n in range(1, 99)) if _length(text) != first)
        said = [right, right, f" {right}", right.replace("。", "です。"), right[:-9]][place]
        if place == 2:  # the first again, in JSON of another spelling
            said = json.dumps(json.loads(WRITE("", asked, 0)), indent=1)
        return Reply(said, "length" if place == 4 else "stop")


class Silent:
    """Gives outlines under a title that no hand was offered."""

    name = "silent"

    def __init__(self) -> None:
        self.seeds = list[int]()

    def ask(self, question: Question) -> Reply:
        self.seeds.append(question.seed)
        return Reply(encode_outline(Outline("知らない題", ("石", "門", "庭"))), "stop")


def _rounds(room: Path, hands: int = 3, writer: Scripted | None = None) -> list[Round]:
    return rivals.play(writer or Scripted(), GAME, ABOUT, hands, 5, room)


def test_hands_are_for_training_and_none_that_a_report_is_about() -> None:
    some = [one.hand for one in islice(rivals.examples(GAME), 400)]
    keys = {pattern_key(hand) for hand in some}
    assert len(keys) == 400
    assert {split_of(hand) for hand in some} == {"train"}
    assert not keys & {pattern_key(trial.example.hand) for trial in trials(GAME, 400)}


def test_a_small_deck_has_only_so_many_and_keeps_what_is_held_out(tmp_path: Path) -> None:
    """Five cards: 243 hands, of which a report keeps one that its pattern has in training."""
    cards = [next(iter(cards)).as_json() for cards in GAME.deck.categories.values()][:5]
    (tmp_path / "cards.json").write_text(json.dumps(cards), "utf-8")
    (tmp_path / "catchphrases.json").write_text(json.dumps(GAME.deck.catchphrases), "utf-8")
    deck = load_game(tmp_path).deck
    wordings = product(*([Pair(card, wording) for wording in card.poems] for card in deck.cards))
    training = [hand for hand in map(Hand, wordings) if split_of(hand) == "train"]
    poem = json.loads(WRITE("", next(rivals.examples(GAME)).question(GAME)[1]["content"], 0))
    written = {"pairs": training[0].ids(), "held_out": True, **poem}
    (tmp_path / "poems.jsonl").write_text(json.dumps(written) + "\n", "utf-8")
    game = load_game(tmp_path)
    assert len(game.poems) == 1
    kept = [pattern_key(one.hand) for one in rivals.examples(game)]
    assert sorted(kept) == sorted(map(pattern_key, training[1:]))


def test_answers_are_sorted_and_each_is_there_once(tmp_path: Path) -> None:
    writer = Scripted()
    rounds = _rounds(tmp_path, writer=writer)
    assert len(set(writer.seeds)) == 15
    assert [(len(one.keepers), len(one.breakers), one.unfinished) for one in rounds] == [(2, 1, 1)] * 3
    assert all(one.text == encode(one.answer) for each in rounds for one in each.rivals if one.answer)


def test_what_was_answered_before_a_death_is_taken_over_and_so_it_is_by_more_hands(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _rounds(tmp_path, writer=Scripted(dies_at=7))
    (file,) = tmp_path.glob("*.jsonl")
    file.write_bytes(file.read_bytes()[:-20])  # and the last line is torn
    writer = Scripted()
    writer.seeds = [0] * 6
    rounds = _rounds(tmp_path, writer=writer)
    assert len(writer.seeds) == 15
    assert rounds == _rounds(tmp_path / "again")
    more = Scripted()
    assert _rounds(tmp_path, 4, more)[:3] == rounds
    assert len(more.seeds) == 5


def test_the_rules_go_first_and_the_lexicon_decides_the_rest(tmp_path: Path) -> None:
    (each, *_) = _rounds(tmp_path, 1)
    hand, words = each.example.hand, store().values
    told = "".join(words[GAME.values[pair.wording.id][0]][0] for pair in hand.pairs)
    rich, poor, alike = (Rival(text, Answer("題", text), ()) for text in (told, "石", "砂"))
    broken, none = Rival("です", Answer("題", "です"), ("style",)), Rival("x", None, ("malformed",))
    rounds = [Round(each.example, (poor, broken, rich, none, alike), 6, 1), Round(each.example, (broken, none), 4, 0)]
    met = preferences.meetings(rounds)
    outcomes = preferences.by_values(GAME, met)
    found = preferences.lines(GAME, rounds, met, outcomes, "values")
    assert [(one.chosen, one.rejected, one.why) for one in found] == [
        ("石", "です", "rules"),
        (told, "x", "rules"),
        (told, "石", "values"),
        (told, "砂", "values"),
    ]
    assert (found[1].scores["chosen"].values, found[1].scores["rejected"].values) == (1.0, None)
    assert found[0].scores["rejected"].broken == ["style"]
    report = preferences.report("model", "values", rounds, outcomes, found)
    counts = (report.answers, report.keeping, report.breaking, report.unfinished, report.repeated)
    assert counts == (10, 3, 4, 1, 2)
    assert (report.compared, report.ties, report.pairs) == (3, 1, {"rules": 2, "values": 2})
    assert (report.orders_agree, report.bias) == (None, None)
    path = preferences.write(tmp_path, found, report)
    tiny = RECIPES / "tiny-base"
    assert len(read_preferences(path, load_tokenizer(tiny), family("chatml"))) == 4


@dataclass
class InTwoStages:
    """Says no outline at first, then one; under it two poems, one by another title, one that breaks a rule, one cut."""

    name: str = "scripted"
    questions: list[Question] = field(default_factory=list)
    lists: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By the prompt of a poem: the title, and the hand's list in the prompt of its outline."""

    def ask(self, question: Question) -> Reply:
        text = question.messages[1]["content"]
        before = sum(one.messages == question.messages for one in self.questions)
        self.questions.append(question)
        if not question.outline:
            title, pairs = self.lists[text]
            right = decode(WRITE("", f"{pairs}\n【タイトル選択候補】\n1. {title}", before))
            polite = replace(right, poem=right.poem.replace("。", "です。"))
            said = encode([right, right, replace(right, title="別の題"), polite, right][before])
            return Reply(said, "length" if before == 4 else "stop")
        if before == 0:
            return Reply("題は石の門。", "stop")
        answer = decode(WRITE("", text.partition("\n【答え】")[0], 0))
        outline = outline_of(answer)
        poem = render_outlined_prompt(GAME.instructions, outline)
        self.lists[poem.user] = answer.title, text.partition("\n【タイトル")[0]
        return Reply(encode_outline(outline), "stop")


def test_of_two_stages_the_poems_of_one_outline_are_compared_under_the_prompt_that_has_it(tmp_path: Path) -> None:
    engine = InTwoStages()
    writer = EngineWriter(engine, GAME, constrained=True, stages=2)
    rounds = rivals.play(writer, GAME, ABOUT, 2, 5, tmp_path)
    assert [(len(one.keepers), len(one.breakers), one.unfinished) for one in rounds] == [(2, 2, 1)] * 2
    assert [one.outline for one in engine.questions] == ([True] * 2 + [False] * 5) * 2
    assert rivals.play(writer, GAME, ABOUT, 2, 5, tmp_path) == rounds
    assert len(engine.questions) == 14
    met = preferences.meetings(rounds)
    outcomes = preferences.by_values(GAME, met)
    found = preferences.lines(GAME, rounds, met, outcomes, "values")
    for one in found:
        (each,) = (each for each in rounds if each.example.hand.ids() == one.hand)
        assert each.example.outline is not None
        assert one.prompt == render_outlined_prompt(GAME.instructions, each.example.outline).messages()
    broken = [one.scores["rejected"].broken for one in found if one.why == "rules"]
    assert [("title" in rules, "polite" in rules) for rules in broken] == [(True, False), (False, True)] * 2
    assert preferences.report("model", "values", rounds, outcomes, found).without_outline == 0


def test_a_hand_that_gets_no_outline_in_three_tries_is_left_out_and_counted(tmp_path: Path) -> None:
    engine, hands = Silent(), 2
    writer = EngineWriter(engine, GAME, constrained=False, stages=2)
    rounds = [each for _ in range(2) for each in rivals.play(writer, GAME, ABOUT, hands, 5, tmp_path)]
    assert [(one.rivals, one.asked) for one in rounds] == [((), 0)] * 4
    assert len(set(engine.seeds)) == len(engine.seeds) == hands * 3
    assert preferences.report("model", "values", rounds[:hands], Outcomes([]), []).without_outline == hands


def _longer(text: str) -> float:
    return float(len(text))


@pytest.mark.parametrize(
    ("mind", "agree", "ties", "unread", "biased"),
    [(reader(_longer), 1.0, 0, 0, False), (first_come, 0.0, 3, 0, True), (nonsense, None, 0, 3, None)],
)
def test_a_judge_reads_both_orders_and_what_another_order_turns_teaches_nothing(
    mind: Callable[[str, str], object],
    agree: float | None,
    ties: int,
    unread: int,
    biased: bool | None,
    tmp_path: Path,
) -> None:
    rounds = _rounds(tmp_path)
    met = preferences.meetings(rounds)
    with judges(mind) as bench:
        outcomes = preferences.by_judge(_juror(bench), GAME, met, tmp_path, None)
        asked = len(bench.asked)
        again = preferences.by_judge(_juror(bench), GAME, met, tmp_path, None)
    assert (asked, len(bench.asked), again.of) == (6 * (2 if unread else 1), asked, outcomes.of)
    found = [one for one in preferences.lines(GAME, rounds, met, outcomes, "judge") if one.why == "judge"]
    report = preferences.report("model", "openai:m", rounds, outcomes, found)
    assert (report.orders_agree, report.ties, report.unread) == (agree, ties, unread)
    assert (report.bias and report.bias.biased) == biased
    assert len(found) == 3 - ties - unread
    lengths = [[_length(text) for text in (one.chosen, one.rejected)] for one in found]
    assert all(chosen > rejected for chosen, rejected in lengths)


def _juror(bench: Bench) -> Juror:
    spec = spec_of(name="openai", model="m", temperature=0.0, tries=2)
    return Juror(spec, FREE, partial(OpenAI, spec, "a-key", f"{bench.url}/v1", FREE))
