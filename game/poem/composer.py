"""A hand, its title candidates and a seed → a poem that keeps every rule, put together without a model.

The title comes first: it names the thread that the poem follows and brings the frame, which is the opening that leads
in, the turns that take its image from paragraph to paragraph, and the closing that answers. Each of the five cards
then has a sentence on that thread, and the thread's stations give the order. A card of the game's own deck has
sentences written for its wordings; of any other card the store knows the kind of reality, or at least what the wording
is worth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from poem.rules import DEFINITION, DEFINITIONS_MAX, PHRASE
from poem.sentences import Frame, Sentence, Voices
from poem.store import Theme, store

# The paragraphs that a poem may have, by how many sentences its cards have (five, or four where two share one) and
# whether its frame has turns: o the opening, b a card's sentence, t a turn, c the closing, which may be two sentences.
_LAYOUTS = {
    (5, False): ("ob bb bb c", "ob bbb bc", "obb bb bc", "o bb bb bc", "ob bb bbc"),
    (4, False): ("ob bb bc", "ob bb b c", "o bb bb c", "o bb bbc", "obb bb c"),
    (5, True): ("ob tbb tbb c", "obb tb tbb c", "obb tbb tb c", "ob tbbb tb c", "obb tbb tbc", "ob tbbb tbc"),
    (4, True): ("ob tb tbb c", "ob tbb tb c", "obb tb tb c", "ob tbb tbc", "obb tb tbc"),
}
# 180 to 240 with the line breaks and without, whichever layout is taken.
_FITTING = range(shape.POEM_LENGTH.start, shape.POEM_LENGTH.stop - (shape.PARAGRAPHS[1] - 1))

# The best is taken of so many drafts that fit, and so many plans are tried for them on a thread. One thread alone: the
# best of two is mostly of the one whose stations differ most, and its sentences would wear out.
_DRAFTS = 3
_PLANS_TRIED = 24
# The first plans have to do without the residence as the subject of more sentences than are borne.
_PLANS_STRICT = 6
_FUSED = 0.5
"""How often two cards that a fused sentence speaks for are let share it."""

# What chance adds to a draft, at most, so that a few shapely ends do not win too often; and what a draft loses. A poem
# in which the residence does nothing is no advertisement of it; one that has no room for its frame's turns says its
# title only at the ends.
_CHANCE = 4.0
_NO_SUBJECT = 4.0
_SUBJECTS_TOGETHER = 1.5
_SUBJECT_AGAIN, _SUBJECTS_BORNE = 6.0, 2
_DENIED = 3.0
_TURNS_CUT = 6.0
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


Paragraphs = tuple[tuple[Sentence, ...], ...]


@dataclass(frozen=True, slots=True)
class _Draft:
    """A title, its sentences by paragraph, and how good that is."""

    title: str
    paragraphs: Paragraphs
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
            return Composition(Answer(best.title, _written(best.paragraphs)), waived)
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
        for n, (title, frame) in enumerate(islice(_plans(game, candidates, thread, rng), _PLANS_TRIED)):
            body = _body(thread, spoken, fused, denied, rng)
            if n < _PLANS_STRICT and sum(one.subject for one in (*frame.lines, *body)) > _SUBJECTS_BORNE:
                continue
            text = "".join(sentence.text for sentence in (*frame.lines, *body))
            if cut := len(frame.turns) > 0 and len(text) >= _FITTING.stop:
                frame = replace(frame, turns=())
                text = "".join(sentence.text for sentence in (*frame.lines, *body))
            defined = text.count(DEFINITION)
            if len(text) in _FITTING and defined <= DEFINITIONS_MAX and not banned.within(text):
                draft = _judge(title, frame, body, frozenset().union(*denied), rng)
                found.append(replace(draft, score=draft.score - _TURNS_CUT * cut))
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
    voices = [_told(game, pair) for pair in pairs]
    told = {key: sum(key in voice for voice in voices) for key in known}
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


def _plans(game: Game, candidates: Sequence[str], thread: str, rng: Random) -> Iterator[tuple[str, Frame]]:
    """Titles for the thread, over and over in any order, each with a frame."""
    written = ((title, game.sentences.titles[title]) for title in candidates if title in game.sentences.titles)
    own = [(title, frame) for title, frames in written if frames.thread in (thread, None) for frame in frames.each]
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


def _judge(title: str, frame: Frame, body: Sequence[Sentence], denied: frozenset[str], rng: Random) -> _Draft:
    """The draft in the paragraphs that suit it: the residence at most once in each."""
    paragraphs = _arranged(frame, body, rng)
    sentences = [sentence for paragraph in paragraphs for sentence in paragraph]
    subjects = sum(sentence.subject for sentence in sentences)
    score = _CHANCE * rng.random() - _SUBJECTS_TOGETHER * _crowded(paragraphs)
    if not subjects:
        score -= _NO_SUBJECT
    score -= _SUBJECT_AGAIN * max(0, subjects - _SUBJECTS_BORNE)
    if denied:
        said = (claims_of(title), *(sentence.claims for sentence in sentences))
        score -= _DENIED * sum(not denied.isdisjoint(claims) for claims in said)
    score -= _SAME_ENDING * sum(before.text[-3:] == after.text[-3:] for before, after in pairwise(sentences))
    # what the frame names is to come back, so only the cards' sentences are held against each other
    score -= _SAME_NOUN_NEXT * sum(not before.nouns.isdisjoint(after.nouns) for before, after in pairwise(body))
    score -= _SAME_NOUN * sum(len(before.nouns & after.nouns) for before, after in combinations(body, 2))
    score -= _SAME_STATION * (len(body) - len({sentence.at for sentence in body}))
    score -= _SIMILE * max(0, sum(sentence.simile for sentence in sentences) - _SIMILES_BORNE)
    length = sum(len(sentence.text) for sentence in sentences)
    if length not in _WANTED_LENGTH:
        score -= _OFF_LENGTH * max(_WANTED_LENGTH.start - length, length - _WANTED_LENGTH.stop + 1)
    return _Draft(title, paragraphs, score)


def _arranged(frame: Frame, body: Sequence[Sentence], rng: Random) -> Paragraphs:
    """A frame and the cards' sentences in paragraphs, by chance one of the layouts that crowd the residence least."""
    layouts = _LAYOUTS[len(body), len(frame.turns) > 0]
    found: Paragraphs = ()
    least = len(body) + len(frame.lines)
    for layout in rng.sample(layouts, len(layouts)):
        lines = {"o": iter((frame.opening,)), "b": iter(body), "t": iter(frame.turns), "c": iter((frame.closing,))}
        paragraphs = tuple(tuple(next(lines[of]) for of in paragraph) for paragraph in layout.split())
        if (crowded := _crowded(paragraphs)) < least:
            found, least = paragraphs, crowded
        if not crowded:
            break
    return found


def _crowded(paragraphs: Paragraphs) -> int:
    """How many sentences too many have the residence as their subject."""
    return sum(max(0, sum(sentence.subject for sentence in paragraph) - 1) for paragraph in paragraphs)


def _written(paragraphs: Paragraphs) -> str:
    return shape.PARAGRAPH_BREAK.join("".join(sentence.text for sentence in paragraph) for paragraph in paragraphs)


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
    """What the store says on the thread; if that is a game's own, on every thread."""
    known = store().threads
    told = (known[thread],) if thread in known else known.values()
    return tuple(s for one in told for sentences in one.values.values() for s in sentences)
