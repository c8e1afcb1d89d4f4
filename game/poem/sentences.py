"""Sentences written by hand, with what the composer needs to know of each.

A thread is the order that a poem is told in; each has five stations, and `at` says at which of them a sentence
stands.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from poem.claims import claims_of

STATIONS = range(5)

_SUBJECT = re.compile("(?:邸|住まい|館|この[地丘家街]|高台)[はがも]")
_SEASONS = tuple(
    map(re.compile, ("[春桜蕾芽]|花の盛り|東風", "[夏蝉]|若葉|緑陰|七月", "秋|紅葉|落葉|木犀", "[冬雪霜氷]"))
)
_SIMILE = re.compile("ように|さながら|にならい|に似|心地|思わせ|ごとく|の趣")
_NOUNS = re.compile(r"[一-鿿々〆]{2,}|[ァ-ヶー]{3,}|[窓灯朝夜雨風空月星花庭鍵壁石葉枝海川橋舟頁鏡鳥影光音香門道]")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, or a closing of two, and the station of its thread at which it stands."""

    text: str
    at: int = 0
    subject: bool = field(init=False, compare=False)
    """Whether the residence or its site does what the sentence says."""
    season: int | None = field(init=False, compare=False)
    """The one that it names, spring being 0; none if it names several."""
    simile: bool = field(init=False, compare=False)
    """Whether it says that something is like something else: a poem bears few of these."""
    nouns: frozenset[str] = field(init=False, compare=False)
    """The things it shows: what jars if the next sentence shows it again."""
    claims: frozenset[str] = field(init=False, compare=False)
    """What it says of the place that a card may deny."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", bool(_SUBJECT.search(self.text)))
        named = [n for n, words in enumerate(_SEASONS) if words.search(self.text)]
        object.__setattr__(self, "season", named[0] if len(named) == 1 else None)
        object.__setattr__(self, "simile", bool(_SIMILE.search(self.text)))
        object.__setattr__(self, "nouns", frozenset(_NOUNS.findall(self.text)))
        object.__setattr__(self, "claims", claims_of(self.text))


LINES, BELONGS, BREAKS = 0b111, 1 << 3, 1 << 4
_CALLS = {"opening": 1, "first": 2, "second": 4, "belongs": BELONGS, "breaks": BREAKS}

Voices = Mapping[str, tuple[Sentence, ...]]
"""Sentences by thread."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a title says in a poem: an opening that leads in, turns that head the paragraphs after it, a closing.

    There are two turns or none; read by themselves the lines go one way, whatever stands between them.
    """

    opening: Sentence
    turns: tuple[Sentence, ...]
    closing: Sentence
    calls: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    """What a reader said of a sentence in this frame, by its text: bit n that right after line n it seems written for
    that line; `BELONGS`, that it is of the frame's image wherever it stands; `BREAKS`, that it is not.
    """
    subjects: int = field(init=False, compare=False)
    """In how many lines the residence does what they say."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "subjects", sum(line.subject for line in self.lines))

    @property
    def lines(self) -> tuple[Sentence, ...]:
        """All of them, in order."""
        return (self.opening, *self.turns, self.closing)


@dataclass(frozen=True, slots=True)
class Frames:
    """A title's thread and its frames, of which a poem takes one."""

    thread: str | None
    each: tuple[Frame, ...]


@dataclass(frozen=True)
class Sentences:
    """All that was written for one game's own titles and cards."""

    titles: Mapping[str, Frames] = field(default_factory=dict)
    wordings: Mapping[str, Voices] = field(default_factory=dict)
    fused: Mapping[frozenset[str], Voices] = field(default_factory=dict)
    """By the ids of the two cards."""

    def all(self) -> Iterator[Sentence]:
        """Every one of them."""
        for frames in self.titles.values():
            for frame in frames.each:
                yield from frame.lines
        for voices in (*self.wordings.values(), *self.fused.values()):
            for sentences in voices.values():
                yield from sentences


def with_calls(frames: Frames, calls: Any, said: Callable[[str], Sequence[Sentence]]) -> Frames:
    """The frames, each with its calls: `{"opening", "first", "second", "belongs", "breaks"}`, lists of keys.

    `said` gives a key's sentences on the frames' thread. Raises `ValueError` for another shape, and what `said` raises.
    """
    if not isinstance(calls, list) or len(calls) != len(frames.each):
        raise ValueError(f"must be a list of calls, one for each of its {len(frames.each)} frames")
    each = []
    for frame, called in zip(frames.each, calls, strict=True):
        known = [how for how in _CALLS if frame.turns or how not in ("first", "second")]
        if not isinstance(called, dict) or not all(
            how in known and isinstance(keys, list) for how, keys in called.items()
        ):
            raise ValueError(f"a frame's calls are an object of lists: {', '.join(known)}")
        marks: dict[str, int] = {}
        for how, keys in called.items():
            for sentence in (sentence for key in keys for sentence in said(str(key))):
                marks[sentence.text] = marks.get(sentence.text, 0) | _CALLS[how]
        each.append(replace(frame, calls=marks))
    return replace(frames, each=tuple(each))


def voices(entry: Any) -> Voices:
    """`{thread: [{"at", "text"}, …]}` → sentences by thread. Raises `ValueError` for another shape."""
    if not isinstance(entry, dict):
        raise ValueError("must be an object of threads")
    return {str(thread): tuple(sentence(one) for one in sentences) for thread, sentences in entry.items()}


def frames(entry: Any) -> Frames:
    """`{"thread", "frames": [[opening, turn, turn, closing], …]}`, or without turns → frames.

    Raises `ValueError` for another shape.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("frames"), list) or not entry["frames"]:
        raise ValueError("must be an object of thread and frames, a list of [opening, turn, turn, closing]")
    thread = entry.get("thread")
    if not isinstance(thread, str | None):
        raise ValueError(f"thread must be text or left out, got {thread!r}")
    return Frames(thread, tuple(map(_frame, entry["frames"])))


def _frame(lines: Any) -> Frame:
    if not isinstance(lines, list) or len(lines) not in (2, 4):
        raise ValueError(f"a frame is [opening, turn, turn, closing] or [opening, closing], got {lines!r}")
    opening, *turns, closing = lines
    return Frame(_plain(opening, STATIONS[0]), tuple(_plain(turn, 2) for turn in turns), _plain(closing, STATIONS[-1]))


def sentence(entry: Any) -> Sentence:
    """`{"at", "text"}` → a sentence. Raises `ValueError` for another shape."""
    if not isinstance(entry, dict) or entry.get("at") not in STATIONS:
        raise ValueError(f"must be an object of at (0 to {STATIONS[-1]}) and text, got {entry!r}")
    return _plain(entry.get("text"), entry["at"])


@lru_cache(maxsize=16384)
def _interned(text: str, at: int) -> Sentence:
    return Sentence(text, at)


def _plain(text: Any, at: int) -> Sentence:
    if not isinstance(text, str) or not text.endswith("。"):
        raise ValueError(f"a sentence must end with 「。」, got {text!r}")
    return _interned(text, at)
