from collections import Counter

from poem.deck import builtin_deck
from poem.handwritten import handwritten
from poem.pattern import pattern_key
from poem.rules import check
from poem.shape import LAYOUTS, fitting, paragraphs, sentences

DECK = builtin_deck()


def test_there_are_enough_and_twenty_are_held_out() -> None:
    assert len(handwritten()) >= 120
    assert sum(poem.held_out for poem in handwritten()) == 20
    assert len({pattern_key(poem.hand) for poem in handwritten()}) == len(handwritten())


def test_each_keeps_every_rule_and_the_engines_shape() -> None:
    assert [v for poem in handwritten() for v in check(poem.answer, poem.hand, DECK.catchphrases)] == []
    for poem in handwritten():
        found = [[len(s) for s in sentences(text)] for text in paragraphs(poem.answer.poem)]
        assert all(tuple(lengths) in fitting(LAYOUTS[len(found)]) for lengths in found)


def test_no_sentence_stands_in_two_of_them() -> None:
    heard = Counter(s for poem in handwritten() for text in paragraphs(poem.answer.poem) for s in sentences(text))
    assert [sentence for sentence, n in heard.items() if n > 1] == []
