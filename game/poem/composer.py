"""A hand, its title candidates and a seed → a poem that keeps every rule, put together without a model.

The five cards are ordered from the way home to the life in the rooms. One thread, chosen among those that
most of the hand's fragments touch, picks the opening, the closing and, where there is a choice, the
fragments; sentence lengths are fitted to the paragraph shapes of `poem.shape`.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cache
from itertools import product
from random import Random

from poem import shape
from poem.deck import builtin_deck, giveaway_terms
from poem.errors import CompositionError
from poem.hand import Answer, Hand, Pair
from poem.pattern import pattern_key
from poem.rules import PHRASE, style_violations
from poem.words import Sentence, Thread, images, nouns, sentence, sentences_with, thread_mask, words

# From outside to inside; a category of somebody's own deck goes between 環境 and 採光.
_ORDER = ("交通", "周辺", "建物", "環境", "", "採光", "内装", "間取り", "設備", "暮らし")
# Fragments per paragraph, and whether the last paragraph is a couplet that needs none.
_LAYOUTS = (((1, 3, 1), False), ((2, 2, 1), False), ((1, 2, 2), False), ((1, 2, 2), True))
# Of each thread's openings, closings and couplets; all of them would let a few shapely ones win too often.
_ENDS_TRIED = 3
_COUPLETS_TRIED = 2
_FRAMES_PER_CARD = 4
# A card with fewer fragments left than a wording of the built-in deck has may take frames as well.
_FRAGMENTS = 3

# What a sentence gains or loses. Repeating an image jars more than leaving the thread for a sentence.
_ON_THREAD = 1.0
_SAME_IMAGE = 1.5
_SAME_ENDING = 0.7


@dataclass(frozen=True, slots=True)
class Composition:
    """An answer, and whether the giveaway rule had to be waived for it."""

    answer: Answer
    waived: bool


def compose(hand: Hand, candidates: Sequence[str], seed: int) -> Composition:
    """A poem for any hand: of the built-in deck from its fragments, of any other from frames.

    The same hand, candidates and seed give the same text, in whatever order the pairs come. Raises
    `CompositionError` if `candidates` is empty or no sentences fit the shape, which the tests rule out for
    the built-in deck.
    """
    if not candidates:
        raise CompositionError("no title candidates were given; draw them from the deck's catch-copies")
    rng = Random(f"{pattern_key(hand)}:{seed}")
    pairs = sorted(hand.pairs, key=lambda pair: (_rank(pair.card.category), pair.card.id))
    terms = [term for pair in pairs for term in giveaway_terms(pair.card)]
    copied = [pair.wording.poem_text for pair in pairs if len(pair.wording.poem_text) >= PHRASE]
    for waived in (False, True):
        banned = copied if waived else terms + copied
        blocked = frozenset[Sentence]().union(*map(sentences_with, banned))
        spanning = [term for term in banned if "。" in term[:-1]]  # where two sentences meet
        for choices in _choices(pairs, banned, blocked, rng):
            for thread in _threads(choices, rng):
                for layout in rng.sample(_LAYOUTS, len(_LAYOUTS)):
                    poem = _poem(choices, thread, *layout, blocked, rng)
                    if poem and not any(term in poem for term in spanning):
                        title = _title(candidates, thread, poem, rng)
                        return Composition(Answer(title, poem), waived)
    raise CompositionError("no composition fits the shape; the word files lack sentences of some length")


def _rank(category: str) -> int:
    return _ORDER.index(category if category in _ORDER else "")


def _choices(
    pairs: Sequence[Pair], banned: Sequence[str], blocked: Set[Sentence], rng: Random
) -> Iterator[list[list[Sentence]]]:
    """Sentences to choose from for each pair: its fragments first, then frames added where those are few."""
    own = [[s for s in _fragments(pair) if s not in blocked] for pair in pairs]
    if all(own):
        yield own
    if all(len(mine) >= _FRAGMENTS for mine in own):
        return
    frames = [rng.sample(group, len(group)) for group in words().frames]
    plain = [s for s in rng.sample(words().plain, len(words().plain)) if s not in blocked]
    yield [
        mine
        + _framed(pair, [g[n :: len(pairs)][:_FRAMES_PER_CARD] for g in frames], banned, rng)
        + plain[n :: len(pairs)]
        if len(mine) < _FRAGMENTS
        else mine
        for n, (pair, mine) in enumerate(zip(pairs, own, strict=True))
    ]


def _fragments(pair: Pair) -> tuple[Sentence, ...]:
    known = builtin_deck().by_id.get(pair.card.id)
    if known is None or pair.wording not in known.poems or known.condition_text != pair.card.condition_text:
        return ()
    return words().fragments[pair.wording.id]


def _framed(pair: Pair, frames: Sequence[Sequence[str]], banned: Sequence[str], rng: Random) -> list[Sentence]:
    found = nouns(pair.wording.poem_text, banned)
    if not found:
        return []
    filled = (frame.replace("{N}", rng.choice(found)) for group in frames for frame in group)
    kept = (text for text in filled if not any(term in text for term in banned) and not style_violations(text))
    return [sentence(text) for text in kept]


def _threads(choices: Sequence[Sequence[Sentence]], rng: Random) -> list[Thread]:
    """All threads, those that more cards of the hand can follow than of most hands likelier to come first.

    A weighted shuffle: sorted by u^(1/w) for uniform u (Efraimidis and Spirakis 2006).
    """

    def key(thread: Thread) -> float:
        reach = sum(any(s.threads & thread.bit for s in options) for options in choices)
        weight: float = 4 ** (reach - thread.reach * len(choices))
        return float(rng.random() ** (1 / weight))

    return sorted(words().threads, key=key, reverse=True)


def _poem(
    choices: Sequence[Sequence[Sentence]],
    thread: Thread,
    counts: Sequence[int],
    couplet: bool,
    blocked: Set[Sentence],
    rng: Random,
) -> str | None:
    """The best text found for this thread and layout, paragraph by paragraph, or None."""
    last = len(counts) - 1
    openings = [s for s in rng.sample(thread.openings, _ENDS_TRIED) if s not in blocked]
    closings = [s for s in rng.sample(thread.closings, _ENDS_TRIED) if s not in blocked]
    couplets = [pair for pair in rng.sample(thread.couplets, _COUPLETS_TRIED) if blocked.isdisjoint(pair)]
    shape_of = shape.LAYOUTS[len(counts) + couplet]
    written: list[Sentence] = []
    start = 0
    for n, count in enumerate(counts):
        slots = list(choices[start : start + count])
        start += count
        if n == 0:
            slots.insert(0, openings)
        if n == last and not couplet:
            slots.append(closings)
        best = _best(product(*slots), shape_of, written, thread.bit, rng)
        if best is None:
            return None
        written += best
    ends = _paragraph_ends(counts, couplet)
    if couplet:
        best = _best(iter(couplets), shape_of, written, thread.bit, rng)
        if best is None:
            return None
        written += best
    if len({s.text for s in written}) != len(written):
        return None
    return "".join(s.text + shape.PARAGRAPH_BREAK * (n in ends) for n, s in enumerate(written, 1))


@cache
def _paragraph_ends(counts: tuple[int, ...], couplet: bool) -> frozenset[int]:
    """After which sentence a paragraph ends that is not the last."""
    ends, total = [], 1
    for count in counts:
        total += count
        ends.append(total)
    return frozenset(ends if couplet else ends[:-1])


def _best(
    options: Iterator[tuple[Sentence, ...]], shape_of: shape.Shape, before: Sequence[Sentence], bit: int, rng: Random
) -> tuple[Sentence, ...] | None:
    """The option of fitting lengths that keeps the thread and repeats neither image nor ending."""
    fitting = shape.fitting(shape_of)
    shown = frozenset().union(*(s.images for s in before))
    ending = before[-1].ending if before else ""
    best, best_score = None, float("-inf")
    for option in options:
        if tuple([s.length for s in option]) not in fitting:
            continue
        score, seen, last = rng.random(), shown, ending
        for s in option:
            if s.threads & bit:
                score += _ON_THREAD
            if not seen.isdisjoint(s.images):
                score -= _SAME_IMAGE
            if s.ending[-1] == last[-1:]:
                score -= _SAME_ENDING * (1 + (s.ending == last))
            seen |= s.images
            last = s.ending
        if score > best_score:
            best, best_score = option, score
    return best


def _title(candidates: Sequence[str], thread: Thread, poem: str, rng: Random) -> str:
    """The candidate nearest to the poem: on its thread, showing what it shows."""
    shown = images.__wrapped__(poem)  # past its cache, which poems would fill

    def score(title: str) -> float:
        return 2 * bool(thread_mask(title) & thread.bit) + len(images(title) & shown) + rng.random()

    return max(candidates, key=score)
