"""What can be read in a poem without a model: its cards, their values, its title, its likeness to others."""

from random import Random

import pytest

from poem.game import builtin_game
from poem.hand import Answer, Hand, Pair
from poem_build.data.examples import Example
from poem_build.data.runs import distinct
from poem_build.evaluation import concealment, counted, diversity, meaning, specimen
from poem_build.evaluation.another import sheets_of
from poem_build.evaluation.answers import Sheet
from poem_build.evaluation.hands import Trial

GAME = builtin_game()
SLOPE = "access-04"
"""急な坂の上: 登る is one of its terms."""


def _hand(*ids: str) -> Hand:
    cards = [GAME.deck.by_id[key] for key in ids]
    return Hand(tuple(Pair(card, card.poems[0]) for card in cards))


HAND = _hand(SLOPE, "light-07", "plan-03", "living-05", "around-02")


def test_a_term_in_another_form_is_read_by_its_lemma_alone() -> None:
    poem = "灯のともる丘へ、人は登った。"
    assert concealment.told_by_term(HAND, poem) == []
    assert concealment.told_by_lemma(HAND, poem) == [SLOPE]
    assert concealment.told_by_lemma(HAND, "灯のともる丘へ、人は帰った。") == []


def test_the_line_up_hides_the_five_among_three_of_each_category() -> None:
    there = concealment.line_up(HAND, GAME.deck)
    assert there == concealment.line_up(HAND, GAME.deck)
    assert len({card.id for card in there.cards}) == 15
    assert {there.cards[n].id for n in there.own} == {pair.card.id for pair in HAND.pairs}
    categories = [card.category for card in there.cards]
    assert {categories.count(pair.card.category) for pair in HAND.pairs} == {3}


def test_a_poem_that_tells_all_is_guessed_and_chance_names_a_third(there: list[Trial]) -> None:
    plain = "。".join(pair.card.condition_text for pair in HAND.pairs)
    up = concealment.line_up(HAND, GAME.deck)
    assert concealment.named(concealment.guess(plain, up.cards), up) == 1.0
    ups = [concealment.line_up(trial.example.hand, GAME.deck) for trial in there] * 40
    rng = Random(0)
    blind = [concealment.named(frozenset(rng.sample(range(15), 5)), one) for one in ups]
    assert sum(blind) / len(blind) == pytest.approx(1 / 3, abs=0.02)
    first = [concealment.named(concealment.guess("。", one.cards), one) for one in ups[: len(there)]]
    assert sum(first) / len(first) == pytest.approx(1 / 3, abs=0.15)  # the order tells nothing either


def test_values_are_spoken_of_where_a_word_of_theirs_stands() -> None:
    pair = next(
        Pair(card, wording)
        for card in GAME.deck.cards
        for wording in card.poems
        if GAME.values.get(wording.id) == ("静けさ",)
    )
    others = [one for one in HAND.pairs if one.card.category != pair.card.category][:4]
    hand = Hand((pair, *others))
    assert meaning.spoken(GAME, hand, "あ。") == 0
    assert meaning.spoken(GAME, hand, "静寂が満ちる。") == pytest.approx(1 / 5)


def test_a_title_fits_by_the_words_that_come_back() -> None:
    titles = ["夜明けを、所有する。", "庭に問い、風に聴く。"]
    assert meaning.title_fit(titles[1], titles, "庭の木が風を聴いている。") > 0.5
    assert meaning.title_fit(titles[0], titles, "庭の木が風を聴いている。") < 0


def test_runs_are_shared_out_among_the_poems_that_have_them() -> None:
    tops, bottoms = distinct(["あいあい", "あいう"], 2)
    assert bottoms == [3.0, 2.0]
    assert sum(tops) == pytest.approx(len({"あい", "いあ", "いう"}))
    shared, counts = diversity.shared_sentences(["朝が来る。\n夜が来る。", "朝が来る。昼。"])
    assert (shared, counts) == ([1.0, 1.0], [2.0, 2.0])


def test_likeness_is_whole_to_oneself_and_none_to_a_stranger() -> None:
    assert diversity.rouge_l("あいうえお", "あいうえお") == 1.0
    assert diversity.rouge_l("あいう", "かきくあう") == pytest.approx(2 * 2 / 8)
    assert diversity.rouge_l("", "") == 0.0
    same, other = "静かな庭に朝の光が満ちてゆく。", "夜の街を遠い汽笛がわたる頃。"
    alike = diversity.self_bleu([same, same, other])
    assert alike[0] == pytest.approx(100)
    assert alike[2] < 20
    assert diversity.self_bleu([same]) == []


def test_points_are_lost_for_each_card_that_shows_and_each_broken_sentence() -> None:
    whole = "灯のともる丘へ、人は帰った。"
    assert counted.points(HAND, whole) == pytest.approx(100)
    assert counted.points(HAND, "灯のともる丘へ、人は登った。") == pytest.approx(100 - 40 / 5 * 100 / 80)
    assert counted.points(HAND, "灯のともる丘へ、人は。") == pytest.approx(100 - 15 * 100 / 80)


def test_every_broken_rule_is_shown_where_it_stands(sheets: list[Sheet]) -> None:
    example, _, answer = sheets[0].delivered[0]
    first, rest = answer.poem.split("\n", 1)
    bad = f"最高の朝です。{first}\n{rest}最高だ。"
    found = specimen.broken(Answer("だれの題でもない", bad), Example(example.hand, example.candidates, answer))
    spans = {(one.rule, bad[one.start : one.end]) for one in found if one.start is not None}
    assert {("superlative", "最高"), ("polite", "です")} <= spans
    assert {one.start for one in found if one.rule == "superlative"} == {0, bad.rindex("最高だ")}
    assert [(one.part, one.start) for one in found if one.rule == "title"] == [("title", None)]


def test_specimens_stand_beside_their_hands_and_another_s_poem(sheets: list[Sheet]) -> None:
    found = specimen.specimens(sheets[0], [sheets[1]])
    assert len(found) == 20
    assert [one.card_id for one in found[0].hand] == [p.card.id for p in sheets[0].trials[0].example.hand.pairs]
    assert (found[0].beside_writer, found[0].beside) == ("hand", sheets[1].delivered[0][2].poem)
    assert (found[-1].beside_writer, found[-1].broken) == ("", [])
    rows = [row for sheet in sheets for tries in sheet.tries for row in tries]
    composer, hand = sheets_of(rows, GAME)
    assert specimen.specimens(composer, [hand]) == found
