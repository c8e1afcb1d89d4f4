from random import Random

import pytest

from poem.errors import HandError
from poem.game import builtin_game
from poem.hand import Hand, Pair, deal, draw_candidates, hand_of

DECK = builtin_game().deck


def test_a_dealt_hand_has_five_categories_and_a_seed_repeats_it() -> None:
    for seed in range(200):
        hand = deal(DECK, Random(seed))
        assert len({pair.card.category for pair in hand.pairs}) == 5
        assert hand == deal(DECK, Random(seed))


def test_every_card_is_dealt() -> None:
    rng = Random(1)
    assert {p.card.id for _ in range(2000) for p in deal(DECK, rng).pairs} == set(DECK.by_id)


def test_candidates_are_twenty_different_catch_copies() -> None:
    drawn = draw_candidates(DECK, Random(1))
    assert len(set(drawn)) == 20
    assert set(drawn) <= set(DECK.catchphrases)


def test_a_hand_is_found_again_by_its_ids() -> None:
    hand = deal(DECK, Random(3))
    assert hand_of(DECK, hand.ids()) == hand


def test_a_hand_is_told_as_the_game_sends_it() -> None:
    hand = deal(DECK, Random(3))
    told = hand.as_json()
    for sent, pair in zip(told, hand.pairs, strict=True):
        picked = {"id": pair.wording.id, "poem_text": pair.wording.poem_text}
        assert sent == {"conditionCard": pair.card.as_json(), "selectedPoem": picked}
        assert picked in sent["conditionCard"]["poems"]


def test_what_is_no_hand_is_refused() -> None:
    pairs = deal(DECK, Random(1)).pairs
    with pytest.raises(HandError, match="exactly 5 pairs, got 4"):
        Hand(pairs[:4])
    with pytest.raises(HandError, match="a card id comes twice"):
        Hand((*pairs[:4], pairs[0]))
    with pytest.raises(HandError, match="is not one of card"):
        Hand((Pair(pairs[0].card, pairs[1].wording), *pairs[1:]))
    with pytest.raises(HandError, match="card 'nobody' is not in the deck"):
        hand_of(DECK, [("nobody", "a")])
    with pytest.raises(HandError, match="wording 'nothing' is not one of card 'access-01'"):
        hand_of(DECK, [("access-01", "nothing")])
