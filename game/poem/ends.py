"""Titles that nobody has written for → frames that take up what they name.

A title is of some kinds, told by its words, and each kind has frames on each thread. Which of them answer this very
title is reckoned: a reader asks a title of a beach where the beach is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import nlargest
from itertools import product
from random import Random

from poem.sentences import Frame
from poem.store import Motif, store

# Of the frames so many that answer best are taken from, of one title fewer, chance added, or a few would come in
# every poem; the chance at most, and what it is worth that a title calls for the thread, where 1 is that all that it
# names is shown again.
_KEPT, _KEPT_OF_A_TITLE = 18, 8
_CHANCE = 0.4
_CALLED = 0.5

_TOLD, _OF_KIND = 0.5, 0.25
"""What a name counts for that shows by a word of its kind alone, and one whose frames are of its kind and do not."""

_FOREIGN = 0.5
"""What a frame loses that shows things of the title's kind and none that it names: a park in place of a flower."""

_TITLES_KEPT = 4096
"""What was found for a title on a thread is kept; strangers may send others for ever, each of some 1 KB."""

# A lone kanji is a thing if a particle follows, else the start of a verb, whose next sign tells 暮らす from 暮れる.
_NAMED = re.compile(
    r"[一-鿿々〆]{2,}|[一-鿿](?=[のにへをはがともでや、。・」\"\s]|$)|[一-鿿][ぁ-ん]|[ァ-ヶー]{2,}|[A-Za-z]{3,}"
)
_KANJI = re.compile("[一-鿿々〆]{2,}")
_NOUN = re.compile("[一-鿿々〆]{2,}|[ァ-ヶー]+|[A-Za-z]+|[ぁ-ん]+")
_KANA = re.compile("[ぁ-ん]{2,}")
_ADDRESS = re.compile("東京都|[道府県市郡]|区(?!生活|画)|丁目")


@dataclass(frozen=True, slots=True)
class _Candidate:
    title: str
    frame: Frame
    answer: float


def most_answering(titles: Sequence[str], thread: str, rng: Random) -> list[tuple[str, Frame]]:
    """Titles, each with a frame on the thread: some of those that answer best."""
    found = [one for title in titles for one in _answering(title, thread)]
    best = sorted(((one.answer + _CHANCE * rng.random(), n) for n, one in enumerate(found)), reverse=True)[:_KEPT]
    return [(found[n].title, found[n].frame) for _, n in best]


@lru_cache(maxsize=_TITLES_KEPT)
def _answering(title: str, thread: str) -> tuple[_Candidate, ...]:
    """Those of its kinds, or of none in particular; the most answering ones."""
    known = store().threads[thread]
    called = _CALLED * any(word in title for word in known.words)
    motifs = store().motifs_of(title)
    kana = (word for motif in motifs for word in motif.words if word in title and _KANA.fullmatch(word))
    named = [*names_of(title), *dict.fromkeys(kana)]
    written = [(motif, frame) for motif in motifs if thread in motif.frames for frame in motif.frames[thread].each]
    found = [_Candidate(title, frame, called + answer(title, named, motif, frame)) for motif, frame in written]
    if not found:
        plain = Motif(known.words, False, {})
        pairs = (Frame(o, (), c) for o, c in product(known.openings, known.closings))
        found = [_Candidate(title, frame, called + answer(title, named, plain, frame)) for frame in pairs]
    return tuple(nlargest(_KEPT_OF_A_TITLE, found, key=lambda one: one.answer))


def answer(title: str, named: Sequence[str], motif: Motif, frame: Frame) -> float:
    """How well a frame that was written for a kind of title answers this one."""
    text = "".join(line.text for line in frame.lines)
    shown = [word for word in motif.words if word in text]
    foreign = motif.apart and bool(shown) and not any(word in title for word in shown)
    return _share(named, motif.words, text) - _FOREIGN * foreign


def names_of(title: str) -> list[str]:
    """What a title names: runs of kanji, katakana or Latin letters, and how its verbs begin; but for addresses."""
    return [name for name in _NAMED.findall(title) if not _ADDRESS.search(name)]


def _share(named: Sequence[str], words: Sequence[str], text: str) -> float:
    """How much of what is named the text shows again, a whole noun counting twice a lone sign or a verb."""
    weights = [2 if _NOUN.fullmatch(name) else 1 for name in named]
    again = names_of(text)
    shown = (weight * _shown(name, words, text, again) for name, weight in zip(named, weights, strict=True))
    return sum(shown) / sum(weights) if named else 0.0


def _shown(name: str, words: Sequence[str], text: str, again: Sequence[str]) -> float:
    """How well a text shows a name again: whole, by pairs of its signs, or by a word of what it was written for.

    One sign alone tells nothing: a park is no garden because both are written with 園.
    """
    if len(name) == 1:
        whole = float(name in again)
    elif _KANJI.fullmatch(name):
        whole = _longest(name, text) / len(name)
    else:
        whole = float(name in text)
    told = [word for word in words if word in name]
    return max(whole, _TOLD if any(word in text for word in told) else _OF_KIND if told else 0.0)


def _longest(name: str, text: str) -> int:
    """The signs of the longest part of the name that the text holds, a pair at least."""
    for size in range(len(name), 1, -1):
        if any(name[start : start + size] in text for start in range(len(name) - size + 1)):
            return size
    return 0
