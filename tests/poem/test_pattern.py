from random import Random

from hypothesis import given
from hypothesis import strategies as st

from poem.game import builtin_game
from poem.hand import Hand, deal, hand_of
from poem.pattern import pattern_key

DECK = builtin_game().deck


def test_the_rule_is_pinned() -> None:
    ids = [("access-01", "access-01-a"), ("air-02", "air-02-c"), ("plan-03", "plan-03-b")]
    hand = hand_of(DECK, [*ids, ("light-01", "light-01-a"), ("living-08", "living-08-b")])
    assert pattern_key(hand) == "753de4cbda45bbbd962be563e2db1be8ec9bbe0e369a592e566445c9dedc2841"


@given(st.integers(0, 10_000), st.permutations(range(5)))
def test_order_does_not_matter_and_every_wording_does(seed: int, order: list[int]) -> None:
    hand = deal(DECK, Random(seed))
    assert pattern_key(Hand(tuple(hand.pairs[n] for n in order))) == pattern_key(hand)
    card_id, wording_id = hand.ids()[0]
    other = next(w.id for w in DECK.by_id[card_id].poems if w.id != wording_id)
    assert pattern_key(hand_of(DECK, [(card_id, other), *hand.ids()[1:]])) != pattern_key(hand)
