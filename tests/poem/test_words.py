"""Every sentence that ships: enough of them, each clean, none twice."""

import re
from collections import Counter
from collections.abc import Iterator

from poem.deck import giveaway_terms
from poem.game import builtin_game
from poem.rules import sentence_violations, style_violations
from poem.sentences import STATIONS, Sentence
from poem.store import store

GAME = builtin_game()
DECK = GAME.deck
THREADS = {"dusk", "morning", "seasons", "way"}
RUNS = re.compile(r"[一-鿿々〆]{2,}|[ァ-ヶー]{3,}")


def every_sentence() -> Iterator[Sentence]:
    fused = {s.text: s for voices in GAME.sentences.fused.values() for found in voices.values() for s in found}
    yield from fused.values()
    yield from (s for s in GAME.sentences.all() if s.text not in fused)
    yield from store().all()


def test_each_catch_copy_has_a_thread_and_two_frames_with_turns() -> None:
    titles = GAME.sentences.titles
    assert list(titles) == list(DECK.catchphrases)
    assert {frames.thread for frames in titles.values()} == THREADS
    assert min(len(frames.each) for frames in titles.values()) >= 2
    assert all(len(frame.turns) == 2 for frames in titles.values() for frame in frames.each)


def test_every_line_that_others_follow_calls_for_sentences() -> None:
    ours = [frame for frames in GAME.sentences.titles.values() for frame in frames.each]
    anybodys = [f for motif in store().motifs.values() for frames in motif.frames.values() for f in frames.each]
    for frame in (*ours, *(frame for frame in anybodys if frame.turns)):
        for line in range(3):
            assert sum(call >> line & 1 for call in frame.calls.values()) >= 4, frame.lines[line].text


def test_each_wording_has_a_sentence_on_every_thread() -> None:
    wordings = GAME.sentences.wordings
    assert set(wordings) == {w.id for card in DECK.cards for w in card.poems}
    assert {key for key, voices in wordings.items() if set(voices) != THREADS} == set()


def test_two_cards_that_meet_often_share_sentences() -> None:
    assert sum(len({s.text for found in v.values() for s in found}) for v in GAME.sentences.fused.values()) >= 150
    known = {card.id for card in DECK.cards}
    assert all(len(pair) == 2 and pair <= known for pair in GAME.sentences.fused)


def test_the_store_has_two_sentences_for_each_value_on_each_thread() -> None:
    threads = store().threads
    assert len(threads) >= 12
    assert set(threads) >= THREADS
    for thread in threads.values():
        assert set(thread.values) == set(store().values)
        assert min(map(len, thread.values.values())) >= 2
        assert len(thread.openings) >= 8
        assert len(thread.closings) >= 8


def test_every_wording_is_worth_something_known() -> None:
    assert set(GAME.values) == {w.id for card in DECK.cards for w in card.poems}
    assert {value for values in GAME.values.values() for value in values} <= set(store().values)


def test_no_sentence_is_there_twice() -> None:
    assert [text for text, n in Counter(s.text for s in every_sentence()).items() if n > 1] == []


def test_every_sentence_keeps_the_style() -> None:
    assert [(s.text, v) for s in every_sentence() for v in sentence_violations(s.text)] == []
    assert [s.text for s in every_sentence() if s.text.count("。") > 2 or s.at not in STATIONS] == []


def test_a_sentence_neither_gives_its_card_away_nor_copies_its_wording() -> None:
    found = [
        (w.id, term, s.text)
        for card in DECK.cards
        for w in card.poems
        for sentences in GAME.sentences.wordings[w.id].values()
        for s in sentences
        for term in (*giveaway_terms(card), *RUNS.findall(w.poem_text))
        if term in s.text
    ]
    assert found == []


def test_a_titles_lines_suit_any_card() -> None:
    terms = {term for card in DECK.cards for term in giveaway_terms(card)}
    lines = [s.text for frames in GAME.sentences.titles.values() for frame in frames.each for s in frame.lines]
    assert [(text, term) for text in lines for term in terms if term in text] == []


def test_no_wording_is_there_twice_and_none_breaks_the_style() -> None:
    wordings = [w.poem_text for card in DECK.cards for w in card.poems]
    assert len(set(wordings)) == len(wordings)
    assert [(text, v) for text in (*wordings, *DECK.catchphrases) for v in style_violations(text)] == []
