"""A hand, its title candidates and a seed → a poem that keeps every rule, put together without a model.

The title comes first: it names the thread that the poem follows and brings the opening that leads in and the closing
that answers. Each of the five cards then has a sentence on that thread, and the thread's stations give the order. A
card of the game's own deck has sentences written for its wordings; of any other card the store knows the kind of
reality, or at least what the wording is worth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations, pairwise
from random import Random

from poem import shape
from poem.deck import Card, Wording, giveaway_terms
from poem.errors import CompositionError
from poem.game import Game
from poem.hand import Answer, Hand, Pair
from poem.pattern import pattern_key
from poem.rules import PHRASE
from poem.sentences import Sentence, Voices
from poem.store import Motif, store

# Sentences a paragraph, by how many sentences there are in all: five, or fewer where two cards share one, and the ends.
_LAYOUTS = {
    7: ((2, 2, 2, 1), (2, 3, 2), (3, 2, 2), (1, 2, 2, 2), (2, 2, 3)),
    6: ((2, 2, 2), (2, 2, 1, 1), (1, 2, 2, 1), (1, 2, 3), (3, 2, 1)),
    5: ((2, 2, 1), (1, 2, 2), (2, 1, 2)),
}
# Drafts that fit of which the best is taken, and how many are tried for them on a thread.
_DRAFTS = 4
_TRIES = 24
_FUSED = 0.5
"""How often two cards that a fused sentence speaks for are let share it."""
# 180 to 240 with the line breaks and without, whichever layout is taken.
_FITTING = range(shape.POEM_LENGTH.start, shape.POEM_LENGTH.stop - (shape.PARAGRAPHS[1] - 1))
_WANTED_LENGTH = range(208, _FITTING.stop)
_DEFINITION = "である。"
_SPOKEN = 2
"""How much likelier a thread is on which the store speaks of kinds of reality, and not of values alone."""
_MOTIF, _MOTIF_OF_CALLED = 0.75, 0.5
"""How often a title of somebody else's has ends for its kind and not for the thread; less if it calls for that."""

# What chance adds to a draft, at most, so that a few shapely ends do not win too often; and what a draft loses. A poem
# in which the residence does nothing is no advertisement of it.
_CHANCE = 3.0
_NO_SUBJECT = 4.0
_SUBJECTS_TOGETHER = 1.5
_SAME_NOUN = 1.0
_SAME_ENDING = 1.0
_OFF_LENGTH = 0.08
"""For each character outside the wanted length."""


@dataclass(frozen=True, slots=True)
class Composition:
    """An answer, and whether the giveaway rule had to be waived for it."""

    answer: Answer
    waived: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """A title with the thread it is told on and the ends it brings."""

    title: str
    thread: str
    opening: Sentence
    closing: Sentence


def compose(game: Game, hand: Hand, candidates: Sequence[str], seed: int) -> Composition:
    """A poem for any hand, of the game's own deck or of another.

    The same game, hand, candidates and seed give the same text, in whatever order the pairs come. Raises
    `CompositionError` if `candidates` is empty or no sentences fit the shape.
    """
    if not candidates:
        raise CompositionError("no title candidates were given; draw them from the deck's catch-copies")
    rng = Random(f"{pattern_key(hand)}:{seed}")
    pairs = sorted(hand.pairs, key=lambda pair: pair.card.id)
    fused = _fused(game, pairs)
    copied = [pair.wording.poem_text for pair in pairs if len(pair.wording.poem_text) >= PHRASE]
    terms = [term for pair in pairs for term in giveaway_terms(pair.card)]
    for waived in (False, True):
        banned = copied if waived else terms + copied
        spoken = [_voices(game, pair, waived) for pair in pairs]
        for thread in _threads(game, candidates, pairs, rng):
            best, best_score, found = None, float("-inf"), 0
            for _, plan in zip(range(_TRIES), _plans(game, candidates, thread, rng), strict=False):
                draft = _draft(plan, spoken, fused, rng)
                text = "".join(sentence.text for sentence in draft)
                if len(text) not in _FITTING or text.count(_DEFINITION) > 2 or any(term in text for term in banned):
                    continue
                score, layout = _judge(draft, len(text), rng)
                if score > best_score:
                    best, best_score = (plan, draft, layout), score
                found += 1
                if found == _DRAFTS:
                    break
            if best is not None:
                plan, draft, layout = best
                return Composition(Answer(plan.title, _broken(draft, layout)), waived)
    raise CompositionError("no composition fits the shape; the word files lack sentences of some length")


def _threads(game: Game, candidates: Sequence[str], pairs: Sequence[Pair], rng: Random) -> list[str]:
    """Threads in any order, each as likely as another.

    They are those that the titles were written for; where none was, all that are not made of what a card's drawback
    is made of: a shuffle by weight, sorted by u^(1/w) for uniform u (Efraimidis and Spirakis 2006).
    """
    if own := sorted(
        {frames.thread for title in candidates if (frames := game.sentences.titles.get(title)) and frames.thread}
    ):
        return rng.sample(own, len(own))
    conditions = "\n".join(pair.card.condition_text for pair in pairs)
    known = store().threads
    usable = [key for key, thread in known.items() if not any(word in conditions for word in thread.not_for)]
    return sorted(
        usable or known, key=lambda key: rng.random() ** (1 / (_SPOKEN if _has_themes(key) else 1)), reverse=True
    )


def _plans(game: Game, candidates: Sequence[str], thread: str, rng: Random) -> Iterator[_Plan]:
    """Titles for the thread, over and over in any order, each with ends that suit it."""
    known = store()
    written = {title: game.sentences.titles[title] for title in candidates if title in game.sentences.titles}
    fitting = [title for title, frames in written.items() if frames.thread == thread]
    if not fitting:
        fitting = [title for title in candidates if thread in _called(title)] or list(candidates)
    while True:
        for title in rng.sample(fitting, len(fitting)):
            if frames := written.get(title):
                yield _Plan(title, thread, *rng.choice(frames.pairs))
            elif (motifs := _motifs(title)) and rng.random() < _motif_share(title, thread):
                yield _Plan(title, thread, *rng.choice(rng.choice(motifs).frames.pairs))
            else:
                ends = known.threads[thread]
                yield _Plan(title, thread, rng.choice(ends.openings), rng.choice(ends.closings))


def _draft(
    plan: _Plan, spoken: Sequence[Voices], fused: Sequence[tuple[tuple[int, int], Voices]], rng: Random
) -> list[Sentence]:
    """The plan's sentences in order."""
    thread = plan.thread
    body: list[Sentence] = []
    silent: tuple[int, ...] = ()
    for cards, voices in fused:
        if thread in voices and rng.random() < _FUSED:
            body.append(rng.choice(voices[thread]))
            silent = cards
            break
    for n, voices in enumerate(spoken):
        if n not in silent:
            options = [sentence for sentence in voices.get(thread, ()) if sentence not in body]
            if not options:  # more cards are alike than there are sentences for such
                options = [s for s in _anything(thread) if s not in body]
            body.append(options[0] if len(options) == 1 else rng.choice(options))
    body.sort(key=lambda sentence: sentence.at)
    return [plan.opening, *body, plan.closing]


def _judge(draft: Sequence[Sentence], length: int, rng: Random) -> tuple[float, tuple[int, ...]]:
    """How good a draft is, and the layout that suits it: the residence at most once a paragraph."""
    subjects = [sentence.subject for sentence in draft]
    layouts = _LAYOUTS[len(draft)]
    layout = min(rng.sample(layouts, len(layouts)), key=lambda sizes: _crowded(subjects, sizes))
    score = _CHANCE * rng.random() - _SUBJECTS_TOGETHER * _crowded(subjects, layout)
    if not any(subjects):
        score -= _NO_SUBJECT
    for before, after in pairwise(draft):
        score -= _SAME_ENDING * (before.text[-3:] == after.text[-3:])
    for before, after in combinations(draft, 2):
        score -= _SAME_NOUN * len(before.nouns & after.nouns)
    if length not in _WANTED_LENGTH:
        score -= _OFF_LENGTH * max(_WANTED_LENGTH.start - length, length - _WANTED_LENGTH.stop + 1)
    return score, layout


def _crowded(subjects: Sequence[bool], sizes: Sequence[int]) -> int:
    """How many sentences too many have the residence as their subject."""
    start = crowded = 0
    for size in sizes:
        crowded += max(0, sum(subjects[start : start + size]) - 1)
        start += size
    return crowded


def _broken(draft: Sequence[Sentence], sizes: Sequence[int]) -> str:
    paragraphs, start = [], 0
    for size in sizes:
        paragraphs.append("".join(sentence.text for sentence in draft[start : start + size]))
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


@lru_cache(maxsize=8192)
def _called(title: str) -> frozenset[str]:
    """The threads that a title calls for by one of its words."""
    return frozenset(key for key, thread in store().threads.items() if any(word in title for word in thread.words))


def _motif_share(title: str, thread: str) -> float:
    return _MOTIF_OF_CALLED if thread in _called(title) else _MOTIF


@lru_cache(maxsize=8192)
def _motifs(title: str) -> tuple[Motif, ...]:
    return store().motifs_of(title)


@cache
def _has_themes(thread: str) -> bool:
    return any(thread in theme.voices for theme in store().themes.values())


@cache
def _anything(thread: str) -> tuple[Sentence, ...]:
    return tuple(s for sentences in store().threads[thread].values.values() for s in sentences)


@lru_cache(maxsize=8192)
def _of_any(card: Card, wording: Wording, values: tuple[str, ...], waived: bool) -> Voices:
    """What the store says of a card that nobody has written for, without what gives it away unless that is waived."""
    known = store()
    theme = known.theme_of(card)
    worth = values or known.values_of(card, wording) or tuple(known.values)
    terms = () if waived else giveaway_terms(card)
    found = {}
    for key, thread in known.threads.items():
        sentences = [s for value in worth for s in thread.values.get(value, ())]
        sentences += 2 * (theme.voices.get(key, ()) if theme else ())  # a card is found again by its own kind
        if kept := [s for s in sentences if not any(term in s.text for term in terms)]:
            found[key] = tuple(kept)
    return found
