"""The sentences that fit any game: what is said of a card that nobody has written for.

Three kinds. A *theme* is a kind of reality that most decks have (far from the station, facing north …), recognised
by words of the card; a *value* is what a wording is worth (quiet, patience …), recognised by words of the wording;
both have sentences by thread. A *motif* is a kind of title, recognised by words of it, with frames by thread.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from poem.deck import Card, Wording
from poem.files import read_json
from poem.sentences import STATIONS, Frames, Sentence, Voices, frames, sentence, voices, with_calls

_VALUES_MAX = 2
"""As many values are taken from a wording's words."""


@dataclass(frozen=True, slots=True)
class Thread:
    """An order to tell a poem in: a day, a year, a way. `words` in a title call for it."""

    name: str
    stations: tuple[str, ...]
    """What the five are called."""
    words: tuple[str, ...]
    not_for: tuple[str, ...]
    """Words of a reality that this thread is made of, and would so give away."""
    openings: tuple[Sentence, ...]
    closings: tuple[Sentence, ...]
    """They lead in and out, whatever the title."""
    values: Voices
    """Sentences by value."""
    weight: float
    """How often it is taken beside the others, of which each has 1."""


@dataclass(frozen=True, slots=True)
class Theme:
    """A kind of reality, the words that tell it, and its sentences by thread."""

    name: str
    words: tuple[str, ...]
    voices: Voices


@dataclass(frozen=True, slots=True)
class Motif:
    """A kind of title, the words that tell it, and the frames that answer it on each thread.

    One without words answers any title.
    """

    words: tuple[str, ...]
    apart: bool
    """Whether its words name things of which none stands for another: a park is no flower, and a height is a hill."""
    frames: Mapping[str, Frames]


@dataclass(frozen=True)
class Store:
    """All sentences that fit any game."""

    threads: Mapping[str, Thread]
    themes: Mapping[str, Theme]
    motifs: Mapping[str, Motif]
    values: Mapping[str, tuple[str, ...]]
    """The words by which each value is told, from the most telling on."""

    def all(self) -> Iterator[Sentence]:
        """Every one of them."""
        for thread in self.threads.values():
            yield from (*thread.openings, *thread.closings)
            yield from (s for sentences in thread.values.values() for s in sentences)
        for theme in self.themes.values():
            yield from (s for sentences in theme.voices.values() for s in sentences)
        for motif in self.motifs.values():
            yield from (s for frames in motif.frames.values() for frame in frames.each for s in frame.lines)

    def values_of(self, card: Card, wording: Wording) -> tuple[str, ...]:
        """What a wording is worth, by plain search: at most two values, none if no word of any is found.

        A word of the wording counts twice one of the card, a longer one more.
        """
        score = {
            value: sum(len(word) * (2 * (word in wording.poem_text) + (word in card.condition_text)) for word in words)
            for value, words in self.values.items()
        }
        best = sorted((value for value, points in score.items() if points), key=lambda value: -score[value])
        return tuple(best[:_VALUES_MAX])

    def theme_of(self, card: Card) -> Theme | None:
        """The theme with the longest word that the card's text holds."""
        found = [
            (len(word), theme) for theme in self.themes.values() for word in theme.words if word in card.condition_text
        ]
        return max(found, key=lambda one: one[0])[1] if found else None

    def motifs_of(self, title: str) -> tuple[Motif, ...]:
        """The motifs of which the title holds a word; those that answer any title if there are none."""
        told = tuple(motif for motif in self.motifs.values() if any(word in title for word in motif.words))
        return told or tuple(motif for motif in self.motifs.values() if not motif.words)


def _folder() -> Path:
    return Path(str(resources.files("poem") / "store"))


@cache
def known_values() -> Mapping[str, tuple[str, ...]]:
    """The words by which each value is told; the store's, of which it is a small part to read."""
    return {value: tuple(words) for value, words in read_json(_folder() / "values.json").items()}


@cache
def store() -> Store:
    """The store that the package carries, read once."""
    folder = _folder()
    threads = {path.stem: _thread(read_json(path)) for path in sorted((folder / "threads").glob("*.json"))}
    themes = {
        name: Theme(name, tuple(entry["words"]), voices(entry["sentences"]))
        for path in sorted((folder / "themes").glob("*.json"))
        for name, entry in read_json(path).items()
    }
    calls = read_json(folder / "calls.json")

    def called(name: str, thread: str, some: Frames) -> Frames:
        def said(key: str) -> Sequence[Sentence]:
            kind, _, n = key.partition(":")
            return ((themes[kind].voices[thread] if kind in themes else threads[thread].values[kind])[int(n)],)

        return with_calls(some, calls[name][thread], said) if thread in calls.get(name, {}) else some

    return Store(
        threads=threads,
        themes=themes,
        motifs={
            name: Motif(
                tuple(entry["words"]),
                entry.get("apart", False),
                {
                    thread: called(name, thread, frames({"thread": thread, "frames": some}))
                    for thread, some in entry["frames"].items()
                },
            )
            for name, entry in read_json(folder / "motifs.json").items()
        },
        values=known_values(),
    )


def _thread(entry: Mapping[str, Any]) -> Thread:
    return Thread(
        entry["name"],
        tuple(entry["stations"]),
        tuple(entry["words"]),
        tuple(entry["not_for"]),
        tuple(sentence({"at": STATIONS[0], "text": text}) for text in entry["openings"]),
        tuple(sentence({"at": STATIONS[-1], "text": text}) for text in entry["closings"]),
        {value: tuple(map(sentence, sentences)) for value, sentences in entry["values"].items()},
        entry.get("weight", 1),
    )
