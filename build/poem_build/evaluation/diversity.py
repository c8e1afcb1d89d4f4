"""A writer's poems → how much each has that no other has; and how near they are to poems by hand.

Each measure is a sum over poems, so that its interval can be drawn from them.
"""

from collections import Counter
from collections.abc import Sequence

from poem import shape

SELF_BLEU_POEMS = 40
"""Poems that are held against each other: each new one costs as many comparisons again."""


def shared_sentences(poems: Sequence[str]) -> tuple[list[float], list[float]]:
    """Of each poem, how many of its sentences stand in another poem too, and how many it has."""
    sentences = [shape.sentences(poem) for poem in poems]
    counts = Counter(sentence for some in sentences for sentence in set(some))
    return [float(sum(counts[one] > 1 for one in some)) for some in sentences], [float(len(s)) for s in sentences]


def self_bleu(poems: Sequence[str]) -> list[float]:
    """Of each of the first poems, its BLEU (0 to 100) against the others of them (Zhu et al. 2018, Texygen)."""
    from sacrebleu.metrics.bleu import BLEU

    bleu, some = BLEU(tokenize="char", effective_order=True), list(poems[:SELF_BLEU_POEMS])
    if len(some) < 2:
        return []
    return [float(bleu.sentence_score(poem, some[:n] + some[n + 1 :]).score) for n, poem in enumerate(some)]


def rouge_l(poem: str, reference: str) -> float:
    """F1 of the longest common subsequence of characters (Lin 2004, ROUGE)."""
    from rapidfuzz.distance import LCSseq

    common = LCSseq.similarity(poem, reference)
    return 2 * common / (len(poem) + len(reference)) if poem or reference else 0.0
