"""Sentences written by hand, with what the composer needs to know of each, and a game's own files of them.

A thread is the order that a poem is told in; each has five stations, and `at` says at which of them a sentence
stands. A game's folder `sentences/` holds `titles.json` (a catch-copy's thread and frames),
`wordings/*.json` (a wording's sentences by thread) and `fused.json` (sentences that speak for two cards at once).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from poem.claims import claims_of
from poem.errors import GameError
from poem.files import read_json

STATIONS = range(5)

_SUBJECT = re.compile("(?:邸|住まい|館|この[地丘家街]|高台)[はがも]")
_SIMILE = re.compile("ように|さながら|にならい|に似|心地|思わせ|ごとく|の趣")
_NOUNS = re.compile(r"[一-鿿々〆]{2,}|[ァ-ヶー]{3,}|[窓灯朝夜雨風空月星花庭鍵壁石葉枝海川橋舟頁鏡鳥影光音香門道]")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, or a closing of two, and the station of its thread at which it stands."""

    text: str
    at: int = 0
    subject: bool = field(init=False, compare=False)
    """Whether the residence or its site does what the sentence says."""
    simile: bool = field(init=False, compare=False)
    """Whether it says that something is like something else: a poem bears few of these."""
    nouns: frozenset[str] = field(init=False, compare=False)
    """The things it shows: what jars if the next sentence shows it again."""
    claims: frozenset[str] = field(init=False, compare=False)
    """What it says of the place that a card may deny."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", bool(_SUBJECT.search(self.text)))
        object.__setattr__(self, "simile", bool(_SIMILE.search(self.text)))
        object.__setattr__(self, "nouns", frozenset(_NOUNS.findall(self.text)))
        object.__setattr__(self, "claims", claims_of(self.text))


T = TypeVar("T")
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


def load_sentences(folder: Path) -> Sentences:
    """What a game's `sentences/` holds; a file that is not there holds nothing.

    Raises `GameError` naming the file, the entry and the remedy.
    """
    wordings: dict[str, Voices] = {}
    for path in sorted((folder / "wordings").glob("*.json")):
        wordings |= _entries(path, voices)
    return Sentences(
        titles=_entries(folder / "titles.json", frames),
        wordings=wordings,
        fused=_fused(folder / "fused.json"),
    )


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


def _entries(path: Path, parse: Callable[[Any], T]) -> dict[str, T]:
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise GameError(f"{path}: must be a JSON object")
    found = {}
    for key, entry in content.items():
        try:
            found[key] = parse(entry)
        except (ValueError, TypeError) as error:
            raise GameError(f"{path}: {key}: {error}; correct or remove the entry") from error
    return found


def _fused(path: Path) -> Mapping[frozenset[str], Mapping[str, tuple[Sentence, ...]]]:
    content = read_json(path) if path.is_file() else []
    found: dict[frozenset[str], dict[str, tuple[Sentence, ...]]] = {}
    for n, entry in enumerate(content, 1):
        try:
            cards = frozenset(entry["cards"])
            for thread, at in entry["at"].items():
                mine = found.setdefault(cards, {})
                mine[thread] = (*mine.get(thread, ()), sentence({"at": at, "text": entry["text"]}))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GameError(f"{path}: entry {n}: {error}; give cards, at (a station a thread) and text") from error
    return found
