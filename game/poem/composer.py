"""A hand, its title candidates and a seed → a poem that keeps every rule, put together without a model.

The title comes first: it names the thread that the poem follows and brings the opening that leads in and the closing
that answers. Each of the five cards then has a sentence on that thread, and the thread's stations give the order. A
card of the game's own deck has sentences written for its wordings; of any other card the store knows the kind of
reality, or at least what the wording is worth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations, islice, pairwise
from random import Random

from poem import shape
from poem.claims import claims_of, denied_by_others
from poem.deck import Banned, Card, Wording, giveaway_terms
from poem.ends import most_answering
from poem.errors import CompositionError
from poem.game import Game
from poem.hand import Answer, Hand, Pair
from poem.pattern import pattern_key
from poem.rules import PHRASE
from poem.sentences import Sentence, Voices
from poem.store import Theme, store

# Sentences a paragraph, by how many sentences there are in all: five, or fewer where two cards share one, and the ends.
_LAYOUTS = {
    7: ((2, 2, 2, 1), (2, 3, 2), (3, 2, 2), (1, 2, 2, 2), (2, 2, 3)),
    6: ((2, 2, 2), (2, 2, 1, 1), (1, 2, 2, 1), (1, 2, 3), (3, 2, 1)),
    5: ((2, 2, 1), (1, 2, 2), (2, 1, 2)),
}
# 180 to 240 with the line breaks and without, whichever layout is taken.
_FITTING = range(shape.POEM_LENGTH.start, shape.POEM_LENGTH.stop - (shape.PARAGRAPHS[1] - 1))
_DEFINITION = "である。"
_DEFINITIONS_MAX = 2

# The best is taken of so many drafts that fit, and so many plans are tried for them on a thread. One thread alone: the
# best of two is mostly of the one whose stations differ most, and its sentences would wear out.
_DRAFTS = 3
_PLANS_TRIED = 24
_FUSED = 0.5
"""How often two cards that a fused sentence speaks for are let share it."""

# What chance adds to a draft, at most, so that a few shapely ends do not win too often; and what a draft loses. A poem
# in which the residence does nothing is no advertisement of it.
_CHANCE = 4.0
_NO_SUBJECT = 4.0
_SUBJECTS_TOGETHER = 1.5
_SUBJECT_AGAIN, _SUBJECTS_BORNE = 2.0, 2
_DENIED = 3.0
_SAME_NOUN, _SAME_NOUN_NEXT = 1.0, 4.0
_SAME_ENDING = 1.0
_SAME_STATION = 0.5
_SIMILE, _SIMILES_BORNE = 0.8, 2
_OFF_LENGTH = 0.08
"""For each character outside the wanted length."""
_WANTED_LENGTH = range(208, _FITTING.stop)

_CARDS_KEPT = 1024
"""What was found for a card is kept; strangers may send others for ever, each of some 20 KB."""


@dataclass(frozen=True, slots=True)
class Composition:
    """An answer, and whether the giveaway rule had to be waived for it."""

    answer: Answer
    waived: bool


@dataclass(frozen=True, slots=True)
class _Draft:
    """A title, its sentences in order, how many stand in each paragraph, and how good that is."""

    title: str
    sentences: tuple[Sentence, ...]
    layout: tuple[int, ...]
    score: float


def compose(game: Game, hand: Hand, candidates: Sequence[str], seed: int) -> Composition:
    """A poem for any hand, of the game's own deck or of another.

    The same game, hand, candidates and seed give the same text, in whatever order the pairs come. Raises
    `CompositionError` if `candidates` is empty or no sentences fit the shape.
    """
    if not candidates:
        raise CompositionError("no title candidates were given; draw them from the deck's catch-copies")
    rng = Random(f"{pattern_key(hand)}:{seed}")
    pairs = sorted(hand.pairs, key=lambda pair: pair.card.id)
    copied = [pair.wording.poem_text for pair in pairs if len(pair.wording.poem_text) >= PHRASE]
    terms = [term for pair in pairs for term in giveaway_terms(pair.card)]
    for waived in (False, True):
        banned = Banned(copied if waived else terms + copied)
        if drafts := _drafts(game, pairs, candidates, banned, waived, rng):
            best = max(drafts, key=lambda draft: draft.score)
            return Composition(Answer(best.title, _broken(best.sentences, best.layout)), waived)
    raise CompositionError("no composition fits the shape; the word files lack sentences of some length")


def _drafts(
    game: Game, pairs: Sequence[Pair], candidates: Sequence[str], banned: Banned, waived: bool, rng: Random
) -> list[_Draft]:
    """Drafts of the right length without a banned text, on the first thread that gives any."""
    spoken = [_voices(game, pair, waived) for pair in pairs]
    denied = denied_by_others([theme.name if (theme := _kind(pair.card)) else "" for pair in pairs])
    fused = _fused(game, pairs)
    found: list[_Draft] = []
    threads = _threads(game, candidates, pairs, rng)
    if any(denied):
        threads.sort(key=lambda thread: any(_lies(v.get(thread, ()), d) for v, d in zip(spoken, denied, strict=True)))
    for thread in threads:
        for title, opening, closing in islice(_plans(game, candidates, thread, rng), _PLANS_TRIED):
            sentences = (opening, *_body(thread, spoken, fused, denied, rng), closing)
            text = "".join(sentence.text for sentence in sentences)
            defined = text.count(_DEFINITION)
            if len(text) in _FITTING and defined <= _DEFINITIONS_MAX and not banned.within(text):
                found.append(_judge(title, sentences, len(text), frozenset().union(*denied), rng))
                if len(found) == _DRAFTS:
                    break
        if found:
            break
    return found


def _threads(game: Game, candidates: Sequence[str], pairs: Sequence[Pair], rng: Random) -> list[str]:
    """Threads in any order: those that the titles were written for, if any was.

    Else those first on which most cards are told by their own kind; one that a drawback's own substance makes up is
    left out unless all are.
    """
    written = (game.sentences.titles[title].thread for title in candidates if title in game.sentences.titles)
    if own := sorted({thread for thread in written if thread}):
        return _weighted(own, rng)
    known = store().threads
    told = {key: sum(key in _told(game, pair) for pair in pairs) for key in known}
    conditions = "\n".join(pair.card.condition_text for pair in pairs)
    usable = [
        key
        for key, thread in known.items()
        if told[key] == len(pairs) or not any(word in conditions for word in thread.not_for)
    ]
    return sorted(_weighted(usable or list(known), rng), key=lambda key: -told[key])


def _weighted(threads: Sequence[str], rng: Random) -> list[str]:
    """Threads in any order, the weightier mostly first (Efraimidis & Spirakis 2006, algorithm A).

    A game may have a thread of its own, which weighs 1.
    """
    weights = {key: thread.weight for key, thread in store().threads.items()}
    return sorted(threads, key=lambda key: rng.random() ** (1 / weights.get(key, 1)), reverse=True)


def _plans(game: Game, candidates: Sequence[str], thread: str, rng: Random) -> Iterator[tuple[str, Sentence, Sentence]]:
    """Titles for the thread, over and over in any order, each with an opening and a closing."""
    written = ((title, game.sentences.titles[title]) for title in candidates if title in game.sentences.titles)
    own = [(title, *pair) for title, ends in written if ends.thread in (thread, None) for pair in ends.pairs]
    plans = own or most_answering(candidates, thread, rng)
    while True:
        yield from rng.sample(plans, len(plans))


def _body(
    thread: str,
    spoken: Sequence[Voices],
    fused: Sequence[tuple[tuple[int, int], Voices]],
    denied: Sequence[frozenset[str]],
    rng: Random,
) -> list[Sentence]:
    """A sentence for each card, or one for two that share it, by the stations of the thread.

    What other cards deny is said only of a card of which there is nothing else to say.
    """
    body: list[Sentence] = []
    silent: tuple[int, ...] = ()
    for cards, voices in fused:
        by_all = frozenset.intersection(*(denied[n] for n in cards))
        shared = [sentence for sentence in voices.get(thread, ()) if by_all.isdisjoint(sentence.claims)]
        if shared and rng.random() < _FUSED:
            body.append(rng.choice(shared))
            silent = cards
            break
    for n, voices in enumerate(spoken):
        if n not in silent:
            options = [sentence for sentence in voices.get(thread, ()) if sentence not in body]
            if not options:  # more cards are alike than there are sentences for such
                options = [sentence for sentence in _anything(thread) if sentence not in body]
            if denied[n]:
                options = [sentence for sentence in options if denied[n].isdisjoint(sentence.claims)] or options
            body.append(options[0] if len(options) == 1 else rng.choice(options))
    return sorted(body, key=lambda sentence: sentence.at)


def _lies(sentences: Sequence[Sentence], denied: frozenset[str]) -> bool:
    """Whether each of a card's sentences says what is denied."""
    return bool(sentences) and not any(denied.isdisjoint(sentence.claims) for sentence in sentences)


def _judge(title: str, sentences: tuple[Sentence, ...], length: int, denied: frozenset[str], rng: Random) -> _Draft:
    """The draft with the layout that suits it: the residence at most once a paragraph."""
    subjects = [sentence.subject for sentence in sentences]
    layouts = _LAYOUTS[len(sentences)]
    layout = min(rng.sample(layouts, len(layouts)), key=lambda sizes: _crowded(subjects, sizes))
    score = _CHANCE * rng.random() - _SUBJECTS_TOGETHER * _crowded(subjects, layout)
    if not any(subjects):
        score -= _NO_SUBJECT
    score -= _SUBJECT_AGAIN * max(0, sum(subjects) - _SUBJECTS_BORNE)
    if denied:
        said = (claims_of(title), *(sentence.claims for sentence in sentences))
        score -= _DENIED * sum(not denied.isdisjoint(claims) for claims in said)
    score -= _SAME_ENDING * sum(before.text[-3:] == after.text[-3:] for before, after in pairwise(sentences))
    body = sentences[1:-1]  # what the opening names is to come back
    score -= _SAME_NOUN_NEXT * sum(not before.nouns.isdisjoint(after.nouns) for before, after in pairwise(body))
    score -= _SAME_NOUN * sum(len(before.nouns & after.nouns) for before, after in combinations(body, 2))
    score -= _SAME_STATION * (len(body) - len({sentence.at for sentence in body}))
    score -= _SIMILE * max(0, sum(sentence.simile for sentence in sentences) - _SIMILES_BORNE)
    if length not in _WANTED_LENGTH:
        score -= _OFF_LENGTH * max(_WANTED_LENGTH.start - length, length - _WANTED_LENGTH.stop + 1)
    return _Draft(title, sentences, layout, score)


def _crowded(subjects: Sequence[bool], sizes: Sequence[int]) -> int:
    """How many sentences too many have the residence as their subject."""
    start = crowded = 0
    for size in sizes:
        crowded += max(0, sum(subjects[start : start + size]) - 1)
        start += size
    return crowded


def _broken(sentences: Sequence[Sentence], sizes: Sequence[int]) -> str:
    paragraphs, start = [], 0
    for size in sizes:
        paragraphs.append("".join(sentence.text for sentence in sentences[start : start + size]))
        start += size
    return shape.PARAGRAPH_BREAK.join(paragraphs)


def _fused(game: Game, pairs: Sequence[Pair]) -> list[tuple[tuple[int, int], Voices]]:
    """The places of two cards that share sentences, with those."""
    if not game.sentences.fused:
        return []
    found = []
    for (m, one), (n, other) in combinations(enumerate(pairs), 2):
        voices = game.sentences.fused.get(frozenset((one.card.id, other.card.id)))
        if voices and game.owns(one.card) and game.owns(other.card):
            found.append(((m, n), voices))
    return found


def _voices(game: Game, pair: Pair, waived: bool) -> Voices:
    """What was written for the wording, else what the store knows to say of such a card."""
    if not game.owns(pair.card):
        return _of_any(pair.card, pair.wording, (), waived)
    own = game.sentences.wordings.get(pair.wording.id)
    return own or _of_any(pair.card, pair.wording, game.values.get(pair.wording.id, ()), waived)


def _told(game: Game, pair: Pair) -> Voices:
    """The sentences that speak of this card and not of any that is worth as much."""
    own = game.sentences.wordings.get(pair.wording.id) if game.owns(pair.card) else None
    return own or _of_kind(pair.card)


@lru_cache(maxsize=_CARDS_KEPT)
def _kind(card: Card) -> Theme | None:
    return store().theme_of(card)


def _of_kind(card: Card) -> Voices:
    theme = _kind(card)
    return theme.voices if theme else {}


@lru_cache(maxsize=_CARDS_KEPT)
def _of_any(card: Card, wording: Wording, values: tuple[str, ...], waived: bool) -> Voices:
    """What the store says of a card that nobody has written for, without what gives it away unless that is waived.

    A card is found again by its kind; what its wording is worth is said where the kind is not known.
    """
    known = store()
    worth = values or known.values_of(card, wording) or tuple(known.values)
    terms = Banned(() if waived else giveaway_terms(card))
    found: dict[str, tuple[Sentence, ...]] = {}
    for key, thread in known.threads.items():
        for sentences in (_of_kind(card).get(key, ()), [s for value in worth for s in thread.values.get(value, ())]):
            if kept := tuple(s for s in sentences if not terms.within(s.text)):
                found[key] = kept
                break
    return found


@cache
def _anything(thread: str) -> Sequence[Sentence]:
    return tuple(s for sentences in store().threads[thread].values.values() for s in sentences)
