"""What is dealt: any cards, or every prepared set before one comes again."""

from functools import partial
from random import Random

from poem.game import builtin_game
from poem.hand import deal_cards
from poem_service.request.dealer import Dealer, card_sets, deal_any

DECK = builtin_game().deck
SETS = card_sets(DECK, [[card.id for card in deal_cards(DECK, Random(n))] for n in range(7)], [])


def ids(cards: object) -> frozenset[str]:
    return frozenset(card.id for card in cards)  # type: ignore[attr-defined]


def test_a_set_of_cards_counts_once_however_many_poems_it_has() -> None:
    cards = [card.id for card in deal_cards(DECK, Random(1))]
    assert len(card_sets(DECK, [cards, cards[::-1]], [])) == 1


def test_what_the_deck_has_no_more_is_not_dealt() -> None:
    cards = [card.id for card in deal_cards(DECK, Random(1))]
    assert card_sets(DECK, [[*cards[:4], "gone"]], []) == ()
    assert card_sets(DECK, [cards], [cards[2]]) == ()


def test_a_set_with_a_category_twice_is_not_dealt() -> None:
    cards = [card.id for card in deal_cards(DECK, Random(1))]
    other = next(card.id for card in DECK.categories[DECK.by_id[cards[0]].category] if card.id != cards[0])
    assert card_sets(DECK, [[*cards[:4], other]], []) == ()
    assert card_sets(DECK, [[*cards, other]], []) == ()


def test_a_row_that_holds_no_hand_is_not_dealt() -> None:
    cards = [card.id for card in deal_cards(DECK, Random(1))]
    assert len(card_sets(DECK, [None, cards], [])) == 1


def test_all_prepared_sets_are_visited_before_any_comes_again() -> None:
    dealer = Dealer(DECK, SETS)
    rounds = [[ids(dealer.deal(None)[1]) for _ in SETS] for _ in range(3)]
    assert all(set(one) == {ids(cards) for cards in SETS} for one in rounds)
    assert rounds[0] != rounds[1] or rounds[1] != rounds[2]


def test_the_seed_gives_the_same_cards_again() -> None:
    dealer = Dealer(DECK, SETS)
    for deal in (dealer.deal, partial(deal_any, DECK)):
        seed, cards = deal(None)
        assert deal(seed) == (seed, cards)
    assert deal_any(DECK, 7) == (7, deal_cards(DECK, Random(7)))
    assert dealer.deal(-3)[1]


def test_where_nothing_is_prepared_any_cards_are_dealt() -> None:
    assert len({card.category for card in Dealer(DECK, ()).deal(None)[1]}) == 5
