"""A hand, its title candidates and a seed → a poem that keeps every rule, put together without a model.

The title comes first: it names the thread that the poem follows and brings the frame, which is the opening that leads
in, the turns that take its image from paragraph to paragraph, and the closing that answers. Each of the five cards
then has a sentence on that thread, and the thread's stations give the order. Of the titles those are taken whose lines
call for the sentences that these very cards have. A card of the game's own deck has sentences written for
its wordings; of any other card the store knows the kind of reality, or at least what the wording is worth.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from itertools import combinations, islice, pairwise
from random import Random

from poem import shape
from poem.claims import claims_of, denied_by_others
from poem.deck import Banned, Card, Wording, giveaway_terms
from poem.ends import most_answering
from poem.errors import CompositionError
from poem.game import Game
from poem.hand import Answer, Hand, Pair
from poem.layout import Paragraphs, arranged, astray, crowded, written
from poem.pattern import pattern_key
from poem.rules import DEFINITION, DEFINITIONS_MAX, PHRASE
from poem.sentences import BREAKS, LINES, Frame, Sentence, Voices
from poem.store import Theme, store

# 180 to 240 with the line breaks and without, whichever layout is taken.
_FITTING = range(shape.POEM_LENGTH.start, shape.POEM_LENGTH.stop - (shape.PARAGRAPHS[1] - 1))

# The best is taken of so many drafts that fit, and so many plans are tried for them.
_DRAFTS = 2
_PLANS_TRIED = 96
_BODIES = 2
"""Of cards that have several sentences on a thread so many bodies are tried, each in a part of the frames."""
_BODIES_DRAWN = 3
"""So often at most are sentences drawn for the cards until the residence acts in one of them or none."""
_FUSED = 0.5
"""How often two cards that a fused sentence speaks for are let share it."""

# What a plan is worth, in points of readers' on 960 drafts: each line of the frame that the next sentence answers, each
# sentence of the frame's image and each that breaks it. What is denied loses; chance adds so much at most, that a few
# ends do not win too often.
_ANSWERED = 4.0
_BELONGING, _BREAKING = 1.2, 2.4
_DENIED = 4.0
_CHANCE = 6.0
_LIKING = tuple(-_BREAKING if call & BREAKS else _BELONGING if call else 0.0 for call in range(2 * BREAKS))
"""By what a frame calls a sentence for."""
# What a draft loses besides. A poem in which the residence does nothing is no advertisement of it; one that has no room
# for its frame's turns says its title only at the ends.
_NO_SUBJECT = 4.0
_CROWDED = 1.5
_ASTRAY = 6.0
_SUBJECT_AGAIN, _SUBJECTS_BORNE = 8.0, 2
_TURNS_CUT = 6.0
_SAME_NOUN_NEXT = 1.0
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
class _Body:
    """A sentence for each card, or one for two that share it."""

    sentences: tuple[Sentence, ...]
    subjects: int
    """In how many the residence does what they say."""
    lies: int
    """How many say what other cards deny, there being nothing else to say."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A title with a frame and a body."""

    title: str
    frame: Frame
    body: _Body
    worth: float
    promised: int
    """How many lines of the frame might be answered at once."""


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
            return Composition(Answer(best.title, written(best.paragraphs)), waived)
    raise CompositionError("no composition fits the shape; the word files lack sentences of some length")


def _drafts(
    game: Game, pairs: Sequence[Pair], candidates: Sequence[str], banned: Banned, waived: bool, rng: Random
) -> list[_Draft]:
    """Drafts of the right length without a banned text, of the worthiest plans that give any."""
    found: list[_Draft] = []
    for plan in islice(_plans(game, pairs, candidates, waived, rng), _PLANS_TRIED):
        frame, body = plan.frame, plan.body.sentences
        text = "".join(sentence.text for sentence in (*frame.lines, *body))
        if cut := len(frame.turns) > 0 and len(text) >= _FITTING.stop:
            frame = replace(frame, turns=())
            text = "".join(sentence.text for sentence in (*frame.lines, *body))
        if len(text) in _FITTING and text.count(DEFINITION) <= DEFINITIONS_MAX and not banned.within(text):
            draft = _judge(plan, frame, rng)
            found.append(replace(draft, score=draft.score - _TURNS_CUT * cut))
            if len(found) == _DRAFTS:
                break
    return found


def _plans(game: Game, pairs: Sequence[Pair], candidates: Sequence[str], waived: bool, rng: Random) -> Iterator[_Plan]:
    """What may be made of the hand, over and over: what no card denies first, and of that the worthiest.

    Where titles have frames on threads of their own all of these are in it, and of each title one frame by chance; else
    one thread after the other, with the titles that it answers best.
    """
    spoken = [_voices(game, pair, waived) for pair in pairs]
    denied = denied_by_others([theme.name if (theme := _kind(pair.card)) else "" for pair in pairs])
    denied_at_all = frozenset().union(*denied)
    fused = _fused(game, pairs)
    framed_by = game.sentences.titles
    own = [(title, framed_by[title]) for title in candidates if title in framed_by and framed_by[title].each]
    threads = _threads(game, [frames.thread for _, frames in own], pairs, rng)
    while True:
        for some in [threads] if any(frames.thread for _, frames in own) else [[thread] for thread in threads]:
            plans: list[_Plan] = []
            for thread in some:
                framed = [(t, rng.choice(frames.each)) for t, frames in own if frames.thread in (thread, None)]
                draw = partial(_drawn, thread, spoken, fused, denied, rng)
                bodies = [_body(draw) for _ in range(1 if framed else _BODIES)]
                for n, (title, frame) in enumerate(framed or most_answering(candidates, thread, rng)):
                    body = bodies[n % len(bodies)]
                    worth, promised = _worth(title, frame, body, denied_at_all)
                    plans.append(_Plan(title, frame, body, worth + _CHANCE * rng.random(), promised))
            yield from sorted(plans, key=lambda plan: (plan.body.lies, -plan.worth - _ANSWERED * plan.promised))


def _threads(game: Game, written: Sequence[str | None], pairs: Sequence[Pair], rng: Random) -> list[str]:
    """Threads that frames of the titles were written for, if any were.

    Else all, those first on which most cards are told by their own kind; one that a drawback's own substance makes up
    is left out unless all are.
    """
    if own := sorted({thread for thread in written if thread}):
        return own
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


def _body(draw: Callable[[], _Body]) -> _Body:
    """What is said of the cards: the residence acts as seldom as leaves room for a frame's, if that is drawn."""
    for _ in range(_BODIES_DRAWN):
        body = draw()
        if body.subjects < _SUBJECTS_BORNE:
            break
    return body


def _drawn(
    thread: str,
    spoken: Sequence[Voices],
    fused: Sequence[tuple[tuple[int, int], Voices]],
    denied: Sequence[frozenset[str]],
    rng: Random,
) -> _Body:
    """A sentence for each card on the thread, or one for two that share it.

    What other cards deny is said only of a card of which there is nothing else to say.
    """
    body: list[Sentence] = []
    lies = 0
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
                true = [sentence for sentence in options if denied[n].isdisjoint(sentence.claims)]
                lies += not true
                options = true or options
            body.append(options[0] if len(options) == 1 else rng.choice(options))
    return _Body(tuple(body), sum(sentence.subject for sentence in body), lies)


def _worth(title: str, frame: Frame, body: _Body, denied: frozenset[str]) -> tuple[float, int]:
    """What a plan is worth by what its frame calls for and what the residence does, and the lines it may answer."""
    worth, heard = 0.0, 0
    if frame.calls:
        for sentence in body.sentences:
            call = frame.calls.get(sentence.text, 0)
            worth += _LIKING[call]
            heard |= call
    subjects = frame.subjects + body.subjects
    worth -= _SUBJECT_AGAIN * max(0, subjects - _SUBJECTS_BORNE) + _NO_SUBJECT * (not subjects)
    if denied:
        worth -= _DENIED * (not denied.isdisjoint(claims_of(title)))
        worth -= _DENIED * sum(not denied.isdisjoint(line.claims) for line in frame.lines)
    return worth, (heard & LINES).bit_count()


def _judge(plan: _Plan, frame: Frame, rng: Random) -> _Draft:
    """The draft in the paragraphs that suit it."""
    body = plan.body.sentences
    paragraphs, answered = arranged(frame, body, rng)
    sentences = [sentence for paragraph in paragraphs for sentence in paragraph]
    score = plan.worth + _ANSWERED * answered - _CROWDED * crowded(paragraphs) - _ASTRAY * astray(frame, paragraphs)
    score -= _SAME_ENDING * sum(before.text[-3:] == after.text[-3:] for before, after in pairwise(sentences))
    score -= _SAME_NOUN_NEXT * sum(not before.nouns.isdisjoint(after.nouns) for before, after in pairwise(body))
    score -= _SAME_STATION * (len(body) - len({sentence.at for sentence in body}))
    score -= _SIMILE * max(0, sum(sentence.simile for sentence in sentences) - _SIMILES_BORNE)
    length = sum(len(sentence.text) for sentence in sentences)
    if length not in _WANTED_LENGTH:
        score -= _OFF_LENGTH * max(_WANTED_LENGTH.start - length, length - _WANTED_LENGTH.stop + 1)
    return _Draft(plan.title, paragraphs, score)


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
