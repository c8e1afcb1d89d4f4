"""The composer's word files → sentences with what the composer needs to know of each.

`fragments.json` holds three sentences for each wording of the built-in deck, `threads.json` the motifs
with their words, openings, closings and couplets, `frames.json` sentences around a noun `{N}` for wordings
that have no fragments of their own.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

_RUNS = re.compile(r"[一-鿿々〆]{2,}|[ァ-ヶー]{3,}")
_SINGLES = re.compile("[窓灯朝夜雨風空月星花庭机本鍵靴傘壁床柱湯茶匙椅卓皿糸鐘頁鏡鳥猫猿土石木葉枝海川橋塔舟]")
# Kanji that an ending follows are the stem of a verb or an adjective (告げる, 広がる), and no noun.
_NOUNS = re.compile(
    r"(?<![一-鿿々〆])[一-鿿々〆]{1,6}(?=$|[^一-鿿々〆ぁ-ん]|[のをにへ]|[はがともで](?![らりるれろっすさしせそんく]))|[ァ-ヶー]{2,8}"
)


@dataclass(frozen=True, slots=True, eq=False)
class Sentence:
    """A sentence, its length in characters, its threads as a bit mask, its images and its ending.

    Equality is identity: the word files have one object for each text, a framed sentence is compared by text.
    """

    text: str
    length: int
    threads: int
    images: frozenset[str]
    ending: str


@dataclass(frozen=True)
class Thread:
    """A motif: the bit it has in masks, the share of wordings with a fragment on it, and its own sentences."""

    name: str
    bit: int
    reach: float
    openings: tuple[Sentence, ...]
    closings: tuple[Sentence, ...]
    couplets: tuple[tuple[Sentence, ...], ...]


@dataclass(frozen=True)
class Words:
    """All that the composer can say."""

    fragments: dict[str, tuple[Sentence, ...]]
    threads: tuple[Thread, ...]
    frames: tuple[tuple[str, ...], ...]
    plain: tuple[Sentence, ...]


@cache
def words() -> Words:
    """The built-in word files, read once."""
    frames = _read("frames.json")
    plain = frames.pop("plain")
    fragments = {wording: tuple(map(sentence, texts)) for wording, texts in _read("fragments.json").items()}
    return Words(
        fragments=fragments,
        threads=tuple(
            Thread(
                name,
                1 << n,
                sum(any(s.threads >> n & 1 for s in options) for options in fragments.values()) / len(fragments),
                tuple(map(sentence, thread["openings"])),
                tuple(map(sentence, thread["closings"])),
                tuple(tuple(map(sentence, couplet)) for couplet in thread["couplets"]),
            )
            for n, (name, thread) in enumerate(_read("threads.json").items())
        ),
        frames=tuple(map(tuple, frames.values())),
        plain=tuple(sentence(text) for texts in plain.values() for text in texts),
    )


@lru_cache(maxsize=8192)
def sentence(text: str) -> Sentence:
    """A text with its threads, images and ending worked out."""
    return Sentence(text, len(text), thread_mask(text), images(text), text.rstrip("。")[-2:])


@lru_cache(maxsize=8192)
def thread_mask(text: str) -> int:
    """The threads whose words stand in the text, one bit each."""
    return sum(1 << n for n, entries in enumerate(_thread_words()) if any(word in text for word in entries))


@lru_cache(maxsize=8192)
def images(text: str) -> frozenset[str]:
    """The things a text shows: its compound nouns, and the small ones that wear out fastest."""
    return frozenset(_RUNS.findall(text)) | frozenset(_SINGLES.findall(text))


@cache
def all_sentences() -> tuple[Sentence, ...]:
    """Every sentence of the word files, frames aside."""
    found = [s for fragments in words().fragments.values() for s in fragments]
    for thread in words().threads:
        found += [*thread.openings, *thread.closings, *(s for couplet in thread.couplets for s in couplet)]
    return (*found, *words().plain)


@lru_cache(maxsize=4096)
def sentences_with(term: str) -> frozenset[Sentence]:
    """The sentences of the word files that hold the term."""
    return frozenset(s for s in all_sentences() if term in s.text)


def nouns(text: str, banned: Iterable[str]) -> list[str]:
    """Words of a wording that a frame can take: runs of kanji or katakana without a banned term in them."""
    banned = tuple(banned)
    return [noun for noun in dict.fromkeys(_NOUNS.findall(text)) if not any(term in noun for term in banned)]


@cache
def _thread_words() -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(thread["words"]) for thread in _read("threads.json").values())


def _read(name: str) -> Any:
    return json.loads((resources.files("poem") / "data" / name).read_text("utf-8"))
