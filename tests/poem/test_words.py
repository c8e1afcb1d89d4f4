from collections import Counter

from poem.deck import builtin_deck, giveaway_terms
from poem.rules import style_violations
from poem.shape import LAYOUTS, fitting
from poem.words import all_sentences, nouns, words

DECK = builtin_deck()


def test_there_are_enough_words() -> None:
    found = words()
    assert set(found.fragments) == {w.id for card in DECK.cards for w in card.poems}
    assert {len(fragments) for fragments in found.fragments.values()} == {3}
    assert sum(len(thread.openings) for thread in found.threads) >= 120
    assert sum(len(thread.closings) for thread in found.threads) >= 120


def test_no_sentence_is_there_twice() -> None:
    assert [text for text, n in Counter(s.text for s in all_sentences()).items() if n > 1] == []


def test_every_sentence_keeps_the_style() -> None:
    assert [(s.text, v) for s in all_sentences() for v in style_violations(s.text)] == []
    assert [s.text for s in all_sentences() if s.text.count("。") != 1 or not s.text.endswith("。")] == []
    assert [s.text for s in all_sentences() if s.text.count("、") > 2] == []


def test_every_frame_keeps_the_style_around_any_noun() -> None:
    filled = [frame.replace("{N}", "画家") for group in words().frames for frame in group]
    assert [(text, v) for text in filled for v in style_violations(text)] == []
    assert all(frame.count("{N}") == 1 for group in words().frames for frame in group)


def test_a_fragment_does_not_give_its_own_card_away() -> None:
    told = [
        (w.id, term, s.text)
        for card in DECK.cards
        for w in card.poems
        for s in words().fragments[w.id]
        for term in (*giveaway_terms(card), w.poem_text)
        if term in s.text
    ]
    assert told == []


def test_openings_and_closings_suit_any_card() -> None:
    terms = {term for card in DECK.cards for term in giveaway_terms(card)}
    ends = [s.text for t in words().threads for s in (*t.openings, *t.closings, *(s for c in t.couplets for s in c))]
    assert [(text, term) for text in ends for term in terms if term in text] == []


def test_a_couplet_is_a_paragraph() -> None:
    bent = [c for t in words().threads for c in t.couplets if tuple(s.length for s in c) not in fitting(LAYOUTS[4])]
    assert bent == []


def test_nouns_are_taken_from_a_wording_but_no_banned_one() -> None:
    assert nouns("画家が愛した光のシルエット", []) == ["画家", "光", "シルエット"]
    assert nouns("画家が愛した光のシルエット", ["画家", "シルエット"]) == ["光"]
    assert nouns("夜明けを告げる番人", []) == ["番人"]
    assert nouns("空が広がり、昇っては降りる灯に顔がある", []) == ["空", "灯", "顔"]
