"""Titles that nobody has written for → openings and closings that take up what they name.

A title is of some kinds, told by its words, and each kind has ends on each thread. Which of them answer this very
title is reckoned: a reader asks a title of a beach where the beach is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import nlargest
from itertools import product
from random import Random

from poem.sentences import Sentence
from poem.store import store

# Of the ends so many that answer best are taken from, chance added, or a few would come in every poem; the chance at
# most, and what it is worth that a title calls for the thread, where 1 is that all it names is shown again.
_KEPT = 16
_CHANCE = 0.4
_CALLED = 0.5

_TITLES_KEPT = 4096
"""What was found for a title on a thread is kept; strangers may send others for ever, each of some 2 KB."""

_NAMED = re.compile(r"[一-鿿々〆]{2,}|[一-鿿](?=[のにへをはがともでや、。・」\"\s]|$)|[ァ-ヶー]{2,}|[A-Za-z]{3,}")
_KANJI = re.compile("[一-鿿々〆]+")
_ADDRESS = re.compile("東京都|[道府県市郡]|区(?!生活|画)|丁目")


@dataclass(frozen=True, slots=True)
class _Ends:
    title: str
    opening: Sentence
    closing: Sentence
    answer: float


def most_answering(titles: Sequence[str], thread: str, rng: Random) -> list[tuple[str, Sentence, Sentence]]:
    """Titles, each with an opening and a closing on the thread: some of those that answer best."""
    ends = [one for title in titles for one in _answering(title, thread)]
    best = nlargest(_KEPT, ends, key=lambda one: one.answer + _CHANCE * rng.random())
    return [(one.title, one.opening, one.closing) for one in best]


@lru_cache(maxsize=_TITLES_KEPT)
def _answering(title: str, thread: str) -> tuple[_Ends, ...]:
    """Those of its kinds, or of none in particular; the most answering ones."""
    known = store().threads[thread]
    called = _CALLED * any(word in title for word in known.words)
    named = _named(title)
    pairs = [
        (motif.words, *pair)
        for motif in store().motifs_of(title)
        if thread in motif.frames
        for pair in motif.frames[thread].pairs
    ]
    pairs = pairs or [(known.words, *pair) for pair in product(known.openings, known.closings)]
    ends = (
        _Ends(title, opening, closing, called + _share(named, words, opening.text + closing.text))
        for words, opening, closing in pairs
    )
    return tuple(nlargest(_KEPT, ends, key=lambda one: one.answer))


def _named(title: str) -> list[str]:
    """The things that a title names: runs of kanji, katakana or Latin letters, but for addresses."""
    return [name for name in _NAMED.findall(title) if not _ADDRESS.search(name)]


def _share(named: Sequence[str], words: Sequence[str], text: str) -> float:
    """How much of what is named the text shows again, sign by sign; by half at least what it was written for."""

    def shown(name: str) -> float:
        again = sum(sign in text for sign in name) / len(name) if _KANJI.fullmatch(name) else name in text
        return max(again, any(word in name for word in words) / 2)

    return sum(map(shown, named)) / len(named) if named else 0.0
