import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poem.composer import _choices, compose
from poem.deck import Card, Wording, builtin_deck, load_deck
from poem.errors import CompositionError
from poem.hand import Hand, Pair, deal, draw_candidates
from poem.rules import check
from poem.shape import paragraphs, sentences
from poem.words import sentences_with, words

DECK = builtin_deck()


def test_ten_thousand_dealt_hands_keep_every_rule_and_no_sentence_wears_out() -> None:
    rng = Random(2026)
    heard: Counter[str] = Counter()
    for seed in range(10_000):
        hand, candidates = deal(DECK, rng), draw_candidates(DECK, rng)
        composition = compose(hand, candidates, seed)
        assert check(composition.answer, hand, candidates) == []
        assert not composition.waived
        heard.update({s for p in paragraphs(composition.answer.poem) for s in sentences(p)})
    sentence, times = heard.most_common(1)[0]
    assert times <= 200, f"{sentence} stands in {times / 100} % of the poems"


def test_any_five_cards_will_do() -> None:
    rng = Random(4)
    for seed in range(3000):
        hand = Hand(tuple(Pair(card, rng.choice(card.poems)) for card in rng.sample(DECK.cards, 5)))
        assert check(compose(hand, DECK.catchphrases, seed).answer, hand, DECK.catchphrases) == []


def test_five_cards_of_one_category_will_do() -> None:
    for cards in DECK.categories().values():
        for start in range(len(cards) - 4):
            for k in range(3):
                hand = Hand(tuple(Pair(card, card.poems[k]) for card in cards[start : start + 5]))
                assert check(compose(hand, DECK.catchphrases, 1).answer, hand, DECK.catchphrases) == []


def test_the_same_hand_and_seed_give_the_same_text_in_any_order() -> None:
    hand = deal(DECK, Random(5))
    candidates = draw_candidates(DECK, Random(5))
    turned = Hand(hand.pairs[::-1])
    assert compose(hand, candidates, 7) == compose(turned, candidates, 7)
    assert len({compose(hand, candidates, seed).answer.poem for seed in range(30)}) >= 25


def test_every_card_has_its_sentence() -> None:
    rng = Random(6)
    for seed in range(500):
        hand = deal(DECK, rng)
        poem = compose(hand, DECK.catchphrases, seed).answer.poem
        for pair in hand.pairs:
            assert any(s.text in poem for s in words().fragments[pair.wording.id])


def test_frames_are_offered_only_where_fragments_are_few() -> None:
    hand = deal(DECK, Random(1))
    full, few = hand.pairs[0].wording, hand.pairs[1].wording
    banned = [words().fragments[few.id][0].text]
    assert len(list(_choices(hand.pairs, [], frozenset(), Random(1)))) == 1
    own, more = _choices(hand.pairs, banned, sentences_with(banned[0]), Random(1))
    assert more[0] == own[0] == list(words().fragments[full.id])
    assert more[1][:2] == own[1] == list(words().fragments[few.id][1:])
    assert len(more[1]) > 2


def test_without_candidates_there_is_no_title() -> None:
    with pytest.raises(CompositionError, match="no title candidates"):
        compose(deal(DECK, Random(1)), [], 1)


def _foreign(texts: list[str], wordings: list[str]) -> Hand:
    return Hand(
        tuple(
            Pair(Card(f"c{n}", "どこか", text, -1, (Wording(f"w{n}", said),)), Wording(f"w{n}", said))
            for n, (text, said) in enumerate(zip(texts, wordings, strict=True))
        )
    )


JAPANESE = st.text(
    st.sampled_from("のはがをにへと風月花鳥山川海空夢旅人音光影庭窓扉石ラムネオルガンabc1です最高一番。、!"),
    min_size=1,
    max_size=24,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(JAPANESE, min_size=5, max_size=5), st.lists(JAPANESE, min_size=5, max_size=5), st.integers(0, 99))
def test_somebody_elses_deck_is_answered_within_the_rules(texts: list[str], wordings: list[str], seed: int) -> None:
    hand = _foreign(texts, wordings)
    composition = compose(hand, DECK.catchphrases, seed)
    waived = {"giveaway"} if composition.waived else set()
    assert check(composition.answer, hand, DECK.catchphrases, waived) == []


def test_a_term_is_avoided_where_two_sentences_meet() -> None:
    hand = _foreign(["1", "1", "1", "1", "。扉"], ["1", "1", "一", "1", "1"])
    for seed in range(20):
        composition = compose(hand, DECK.catchphrases, seed)
        assert not composition.waived
        assert check(composition.answer, hand, DECK.catchphrases) == []


def test_a_wording_of_somebody_elses_is_taken_up() -> None:
    hand = _foreign(
        ["湖畔", "風車", "石畳", "温室", "灯台"], ["白鳥の別荘", "羽根車の歌", "騎士の靴音", "硝子の楽園", "水夫の星座"]
    )
    found = {
        noun
        for seed in range(20)
        for noun in ("白鳥", "羽根車", "騎士", "硝子", "水夫")
        if noun in compose(hand, DECK.catchphrases, seed).answer.poem
    }
    assert found == {"白鳥", "羽根車", "騎士", "硝子", "水夫"}


def test_the_giveaway_rule_is_waived_only_when_nothing_avoids_it() -> None:
    assert not compose(_foreign(["湖畔"] * 5, ["白鳥の別荘"] * 5), DECK.catchphrases, 1).waived
    assert compose(_foreign(["の", "。", "、", "る", "を"], ["白鳥の別荘"] * 5), DECK.catchphrases, 1).waived


def test_a_deck_from_files_is_played(tmp_path: Path) -> None:
    cards = [card.as_json() | {"id": f"my-{n}", "condition_text": f"現実{n}"} for n, card in enumerate(DECK.cards)]
    (tmp_path / "cards.json").write_text(json.dumps(cards), "utf-8")
    deck = load_deck(cards=tmp_path / "cards.json")
    rng = Random(9)
    for seed in range(100):
        hand = deal(deck, rng)
        assert check(compose(hand, deck.catchphrases, seed).answer, hand, deck.catchphrases) == []
