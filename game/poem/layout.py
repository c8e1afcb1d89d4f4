"""A frame and the cards' sentences → a poem's paragraphs, its lines answered at once where that can be had."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, permutations, product
from random import Random

from poem import shape
from poem.sentences import Frame, Sentence

Paragraphs = tuple[tuple[Sentence, ...], ...]

_ORDERS_TRIED = 24


@dataclass(frozen=True, slots=True)
class _Layout:
    """Paragraphs: o the opening, b a card's sentence, t a turn, c the closing, which may be two sentences."""

    paragraphs: tuple[str, ...]
    answers: tuple[tuple[int, int], ...]
    """The opening and each turn, and which of the cards' sentences follows it."""


def _layouts(*written: str) -> tuple[_Layout, ...]:
    found = []
    for paragraphs in written:
        signs = paragraphs.replace(" ", "")
        answers = enumerate(signs[:at].count("b") for at, sign in enumerate(signs) if sign in "ot")
        found.append(_Layout(tuple(paragraphs.split()), tuple(answers)))
    return tuple(found)


# By how many sentences the cards have (five, or four where two share one) and whether the frame has turns.
_LAYOUTS = {
    (5, False): _layouts("ob bb bb c", "ob bbb bc", "obb bb bc", "o bb bb bc", "ob bb bbc"),
    (4, False): _layouts("ob bb bc", "ob bb b c", "o bb bb c", "o bb bbc", "obb bb c"),
    (5, True): _layouts("ob tbb tbb c", "obb tb tbb c", "obb tbb tb c", "ob tbbb tb c", "obb tbb tbc", "ob tbbb tbc"),
    (4, True): _layouts("ob tb tbb c", "ob tbb tb c", "obb tb tb c", "ob tbb tbc", "obb tb tbc"),
}


def arranged(frame: Frame, body: Sequence[Sentence], rng: Random) -> tuple[Paragraphs, int]:
    """The cards' sentences by their stations in a frame, with how many of its lines the next sentence answers.

    As many as can be, as far as orders are tried; then the residence crowds no paragraph and the seasons keep their
    order if that can be had, and the rest is chance. Sentences of one station may change places.
    """
    layouts = _LAYOUTS[len(body), len(frame.turns) > 0]
    calls = [frame.calls.get(sentence.text, 0) for sentence in body]
    tried = [
        (sum([calls[order[at]] >> line & 1 for line, at in layout.answers]), layout, order)
        for order in islice(_orders(body, rng), _ORDERS_TRIED if any(calls) or _seasonal(body) else 1)
        for layout in layouts
    ]
    most = max(answered for answered, _, _ in tried)
    best = [(layout, order) for answered, layout, order in tried if answered == most]
    found: Paragraphs = ()
    least = 2 * (len(body) + len(frame.lines))
    for layout, order in rng.sample(best, len(best)):
        paragraphs = _laid_out(layout, frame, [body[n] for n in order])
        if (faults := crowded(paragraphs) + astray(frame, paragraphs)) < least:
            found, least = paragraphs, faults
        if not faults:
            break
    return found, most


def crowded(paragraphs: Paragraphs) -> int:
    """How many sentences too many have the residence as their subject: one a paragraph may."""
    return sum(max(0, sum(sentence.subject for sentence in paragraph) - 1) for paragraph in paragraphs)


def astray(frame: Frame, paragraphs: Paragraphs) -> int:
    """How often a season is named that was over, or right after a line that names another.

    The closing may begin the next year.
    """
    *told, _ = [sentence for paragraph in paragraphs for sentence in paragraph]
    faults, latest, of_line = 0, 0, None
    for sentence in told:
        season = sentence.season
        if season is not None:
            faults += season < latest or of_line not in (None, season)
            latest = season
        of_line = season if sentence in frame.lines else None
    return faults


def written(paragraphs: Paragraphs) -> str:
    """As a poem's text."""
    return shape.PARAGRAPH_BREAK.join("".join(sentence.text for sentence in paragraph) for paragraph in paragraphs)


def _seasonal(body: Sequence[Sentence]) -> bool:
    return any(sentence.season is not None for sentence in body)


def _orders(body: Sequence[Sentence], rng: Random) -> Iterator[tuple[int, ...]]:
    """The ways to tell them by their stations, as places in the body, from any of them on."""
    ordered = sorted(rng.sample(range(len(body)), len(body)), key=lambda n: body[n].at)
    together = [tuple(some) for _, some in groupby(ordered, key=lambda n: body[n].at)]
    for some in product(*map(permutations, together)):
        yield tuple(n for group in some for n in group)


def _laid_out(layout: _Layout, frame: Frame, body: Sequence[Sentence]) -> Paragraphs:
    lines = {"o": iter((frame.opening,)), "b": iter(body), "t": iter(frame.turns), "c": iter((frame.closing,))}
    return tuple(tuple(next(lines[of]) for of in paragraph) for paragraph in layout.paragraphs)
