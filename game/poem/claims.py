"""What a sentence says of the place, where the reality of a card may deny it.

Sun in a home that faces north, a hill where the river comes in: a reader who turns the cards over does not smile at
that, but finds the poem lying. What a card is, the store's themes tell.
"""

import re
from collections.abc import Iterable, Sequence

_SAID = {
    "sun": re.compile("朝日|陽|日ざし|日だまり|(?:朝|午前|真昼|東)の光|朝の金"),
    "height": re.compile("(?<!四方の)丘(?!のふち)|高台"),  # hills around a low place are its truth
}
_DENIED_BY = {
    "sun": {"north", "dark"},
    "height": {"flood", "riverside", "raised-river", "soft-ground", "filled-valley", "sea"},
}


def claims_of(text: str) -> frozenset[str]:
    """What a text says of the place."""
    return frozenset(claim for claim, said in _SAID.items() if said.search(text))


def denied_by_others(themes: Sequence[str]) -> list[frozenset[str]]:
    """For the theme of each card, what the other cards deny of the place."""
    if not _denied_by(themes):
        return [frozenset()] * len(themes)
    return [_denied_by((*themes[:n], *themes[n + 1 :])) for n in range(len(themes))]


def _denied_by(themes: Iterable[str]) -> frozenset[str]:
    kinds = set(themes)
    return frozenset(claim for claim, deniers in _DENIED_BY.items() if deniers & kinds)
