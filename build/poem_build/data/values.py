"""A game's folder → a draft of `values.json`: what each wording is worth, as far as its words tell."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from poem.deck import Wording
from poem.files import read_json
from poem.game import Game
from poem.store import store
from poem_build.data.entries import add_entries

VALUES = "values.json"
_MOST = 2
Lemmas = Callable[[str], frozenset[str]]


@dataclass(frozen=True)
class Drafted:
    """How many wordings have values from where, and which have none."""

    kept: int
    """They stood there."""
    by_words: int
    by_lemmas: int
    unknown: list[str]


def draft_values(folder: Path, game: Game, lemmas: Lemmas) -> Drafted:
    """Add to the folder's `values.json` what wordings are worth that are not in it.

    First by plain search for the store's words, then by the lemmas of those: 「静まる」 is as quiet as 「静か」.
    """
    path = folder / VALUES
    there = read_json(path) if path.is_file() else {}
    roots = {value: frozenset().union(*map(lemmas, words)) for value, words in store().values.items()}
    new: dict[str, list[str]] = {}
    by_lemmas, unknown = 0, []
    for card in game.deck.cards:
        for wording in card.poems:
            if wording.id in there:
                continue
            found = list(store().values_of(card, wording))
            if not found:
                found = _by_lemmas(wording, roots, lemmas)
                by_lemmas += bool(found)
            if found:
                new[wording.id] = found
            else:
                unknown.append(wording.id)
    add_entries(path, new)
    return Drafted(len(there), len(new) - by_lemmas, by_lemmas, unknown)


def _by_lemmas(wording: Wording, roots: dict[str, frozenset[str]], lemmas: Lemmas) -> list[str]:
    """The values that share most lemmas with the wording, or nearly: a common character of two is half a lemma."""
    mine = lemmas(wording.poem_text)
    score = {value: float(len(mine & theirs)) for value, theirs in roots.items()}
    for value, theirs in roots.items():
        score[value] += sum(_kin(one, other) for one in mine for other in theirs) / 2
    best = sorted((value for value, points in score.items() if points), key=lambda value: -score[value])
    return best[:_MOST]


def _kin(one: str, other: str) -> bool:
    """Whether two different lemmas are written with the same kanji."""
    return one != other and any("一" <= letter <= "鿿" and letter in other for letter in one)
