"""The poems that ship: enough for the card sets, each within all rules for any wording, none like another."""

from collections import Counter

from poem.game import builtin_game
from poem.pattern import pattern_key
from poem.rules import check
from poem.shape import paragraphs, sentences

GAME = builtin_game()
POEMS = GAME.poems


def test_three_poems_stand_for_each_of_160_card_sets_and_40_hands_are_held_out() -> None:
    assert GAME.warnings == ()
    sets = Counter(frozenset(pair.card.id for pair in p.hand.pairs) for p in POEMS if not p.held_out)
    assert sum(n >= 3 for n in sets.values()) >= 160
    assert sum(sets.values()) >= 480
    held_out = [frozenset(pair.card.id for pair in p.hand.pairs) for p in POEMS if p.held_out]
    assert len(held_out) >= 40
    assert sets.keys().isdisjoint(held_out)
    assert len({pattern_key(p.hand) for p in POEMS}) == len(POEMS)


def test_each_keeps_every_rule_whatever_wordings_are_picked() -> None:
    assert [v for p in POEMS for v in check(p.answer, p.hand, GAME.deck.catchphrases, any_wording=True)] == []


def test_no_sentence_stands_in_two_of_them_and_no_title_tires() -> None:
    heard = Counter(s for p in POEMS for text in paragraphs(p.answer.poem) for s in sentences(text))
    assert [sentence for sentence, n in heard.items() if n > 1] == []
    titles = Counter(p.answer.title for p in POEMS)
    assert max(titles.values()) <= len(POEMS) * 0.05
