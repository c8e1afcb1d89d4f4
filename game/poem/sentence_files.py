"""A game's folder `sentences/` → what was written for its own titles and cards.

It holds `titles.json` (a catch-copy's thread and frames), `wordings/*.json` (a wording's sentences by thread),
`fused.json` (sentences that speak for two cards at once) and `calls.json` (which of them the lines of a frame call
for). What the deck has not, and what breaks a rule, is left out with a warning.
"""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from poem.deck import Deck, known_only
from poem.errors import GameError
from poem.files import read_words
from poem.rules import sentence_violations
from poem.sentences import Frames, Sentence, Sentences, Voices, frames, sentence, voices, with_calls

T = TypeVar("T")
Fused = Mapping[frozenset[str], Voices]


def load_sentences(folder: Path, deck: Deck, warnings: list[str], *, tested: bool = False) -> Sentences:
    """What a game's `sentences/` holds for its deck; a file that is not there holds nothing.

    Raises `GameError` naming the file, the entry and the remedy. What is left out is added to `warnings`; sentences
    that are `tested` are known to keep the rules.
    """
    titles = _entries(folder / "titles.json", frames)
    files = {path.name: _entries(path, voices) for path in sorted((folder / "wordings").glob("*.json"))}
    fused = _fused(folder / "fused.json")
    said = partial(_said, {key: one for entries in files.values() for key, one in entries.items()}, fused)
    for title, calls in _entries(folder / "calls.json", lambda entry: entry).items():
        try:
            if title not in titles or (thread := titles[title].thread) is None:
                raise ValueError("is no title with frames on a thread")
            titles[title] = with_calls(titles[title], calls, partial(said, thread))
        except ValueError as error:
            raise GameError(f"{folder / 'calls.json'}: {title}: {error}; correct or remove the entry") from error
    sieve = _Sieve(deck, warnings, tested)
    return Sentences(
        titles=sieve.titles("sentences/titles.json", titles),
        wordings={
            key: one
            for name, entries in files.items()
            for key, one in sieve.wordings(f"sentences/wordings/{name}", entries).items()
        },
        fused=sieve.fused("sentences/fused.json", fused),
    )


@dataclass(frozen=True, slots=True)
class _Sieve:
    """What the deck has use for of what was written. An entry that it has stays, though nothing of it may."""

    deck: Deck
    warnings: list[str]
    tested: bool

    def titles(self, file: str, titles: Mapping[str, Frames]) -> dict[str, Frames]:
        found = known_only(file, titles, frozenset(self.deck.catchphrases), self.warnings, "titles")
        for title, some in found.items():
            sound = [frame for frame in some.each if all(self._keeps(file, title, x, "its frame") for x in frame.lines)]
            found[title] = replace(some, each=tuple(sound))
        return found

    def wordings(self, file: str, wordings: Mapping[str, Voices]) -> dict[str, Voices]:
        found = known_only(file, wordings, self.deck.wording_ids, self.warnings)
        return {key: self._voices(file, key, one) for key, one in found.items()}

    def fused(self, file: str, fused: Fused) -> Fused:
        cards = dict.fromkeys(card for key in fused for card in key)
        known = known_only(file, cards, self.deck.by_id.keys(), self.warnings).keys()
        return {key: self._voices(file, "+".join(sorted(key)), one) for key, one in fused.items() if key <= known}

    def _voices(self, file: str, entry: str, voices: Voices) -> Voices:
        found = {thread: tuple(x for x in some if self._keeps(file, entry, x, "it")) for thread, some in voices.items()}
        return {thread: some for thread, some in found.items() if some}

    def _keeps(self, file: str, entry: str, sentence: Sentence, left: str) -> bool:
        broken = [] if self.tested else sentence_violations(sentence.text)
        if broken:
            what = f"{reprlib.repr(sentence.text)} breaks a rule ({broken[0].rule}: {broken[0].found})"
            warning = f"{file}: {entry}: {what}; {left} is left out"
            if warning not in self.warnings:  # a fused sentence stands on several threads
                self.warnings.append(warning)
        return not broken


def _said(wordings: Mapping[str, Voices], fused: Fused, thread: str, key: str) -> Sequence[Sentence]:
    voices = fused.get(frozenset(key.split("+"))) if "+" in key else wordings.get(key)
    if voices is None or thread not in voices:
        raise ValueError(f"{key!r} says nothing on the thread {thread!r}")
    return voices[thread]


def _entries(path: Path, parse: Callable[[Any], T]) -> dict[str, T]:
    content = read_words(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise GameError(f"{path}: must be a JSON object")
    found = {}
    for key, entry in content.items():
        try:
            found[key] = parse(entry)
        except (ValueError, TypeError) as error:
            raise GameError(f"{path}: {key}: {error}; correct or remove the entry") from error
    return found


def _fused(path: Path) -> Fused:
    content = read_words(path) if path.is_file() else []
    if not isinstance(content, list):
        raise GameError(f"{path}: must be a JSON list")
    found: dict[frozenset[str], dict[str, tuple[Sentence, ...]]] = {}
    for n, entry in enumerate(content, 1):
        try:
            cards = frozenset(map(str, entry["cards"]))
            for thread, at in entry["at"].items():
                mine = found.setdefault(cards, {})
                mine[thread] = (*mine.get(thread, ()), sentence({"at": at, "text": entry["text"]}))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GameError(f"{path}: entry {n}: {error}; give cards, at (a station a thread) and text") from error
    return found
