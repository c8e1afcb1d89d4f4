"""`[gate]` of a recipe: how much is played and measured, and from where on a result passes.

What only says what passes is no part of a key (`exclude`): gates ask it anew each time, and nothing is made again.
"""

import math

from pydantic import Field

from poem_build.recipe.section import Count, Fraction, Positive, Section, Whole

BAD = 0.1
"""The share of hands that a model answers which the smoke test has to refuse."""
LUCK = 0.05
"""How likely such a model may pass it all the same."""


class Gate(Section):
    """What the finished model has to reach, in shares of the hands that `verify` and `eval` play."""

    token_parity_texts: Positive
    smoke_hands: Positive
    smoke_pass: Fraction = Field(exclude=True)
    """0 asks nothing but answers in the right shape."""
    eval_hands: Whole = Field(default=400, ge=2)
    """Held-out hands of the game that `eval` plays: 400 leave a point either way at 99 %."""
    eval_pass: Fraction = Field(exclude=True)
    deliver_pass: Fraction | None = Field(default=None, exclude=True)
    """The share of hands that get a poem within all rules in three tries."""
    base_pass_at_most: Fraction = Field(exclude=True)
    cards_above: float = Field(default=0.0, exclude=True)
    """By how many nats a right poem must become less likely under another hand's cards, beyond the interval."""
    whole_sentences: Fraction = Field(default=0.99, exclude=True)
    """The share of whole sentences in the poems that the model delivers."""
    conceal_lemma: Fraction | None = Field(default=None, exclude=True)
    """The share of poems in which no card's term stands in any form."""
    named_at_most: Fraction | None = Field(default=None, exclude=True)
    """The share of realities that a judge may name from the poem among fifteen; chance is a third."""
    values_above: float | None = Field(default=None, exclude=True)
    """By how much more of its own hand's values a poem must speak than of another's, beyond the interval."""
    shared_at_most: Fraction | None = Field(default=None, exclude=True)
    """The share of sentences that may stand in another hand's poem too."""
    self_bleu_at_most: float | None = Field(default=None, ge=0, le=100, exclude=True)
    answer_s_at_most: float | None = Field(default=None, gt=0, exclude=True)
    """Seconds of a whole answer, the middle one, on the machine that evaluates."""
    forgets_at_most: float | None = Field(default=None, exclude=True)
    """Nats a token that plain Japanese may become less likely by."""
    points_at_least: float | None = Field(default=None, ge=0, le=100, exclude=True)
    """Of a judge's rubric, in the mean."""
    beats_composer: Fraction | None = Field(default=None, exclude=True)
    """The share of hands that a judge must give to the model over the composer, ties by half."""
    fidelity_poems: Whole = Field(default=20, ge=2)
    """Held-out poems on which every step from base to Q4_K_M is measured."""
    gain_above: float = Field(default=0.0, ge=0, exclude=True)
    """By how many nats a held-out poem must become more likely by the training, beyond the interval."""
    merge_within: Fraction = Field(default=0.1, exclude=True)
    """The share of what the adapter changes in a token's log-probability that the merge may change it by again."""
    nll_within: float = Field(default=1e-3, gt=0, exclude=True)
    """By how many nats a token the f16 GGUF may differ from transformers."""
    k_quants: Count = Field(default=1, exclude=True)
    """Matrices that must have become K-quants."""
    kl_within: float = Field(default=0.1, gt=0, exclude=True)
    """Nats a token that Q4_K_M may be away from the f16 GGUF (Kullback-Leibler)."""
    serving_hands: Whole = Field(default=100, ge=2)
    """Hands that the report on serving plays through Ollama, with the schema and without."""
    embedded_hands: Positive = 20
    """How many of them it plays through the embedded engine."""

    def refuse_luck(self) -> None:
        """Raise `ValueError` for a smoke test that a model which has learnt nothing may well pass."""
        chance = luck(self.smoke_hands, self.smoke_pass, BAD)
        if self.smoke_pass and chance > LUCK:
            raise ValueError(
                f"gate: smoke_pass: a model that answers {BAD:.0%} of the hands would pass {chance:.1%} of the time "
                f"with {self.smoke_pass:.0%} of {self.smoke_hands} asked for, {LUCK:.0%} is allowed; ask more hands "
                "or a larger share"
            )


def needed(hands: int, share: float) -> int:
    """The fewest of the hands that are at least the share of them."""
    return next(count for count in range(hands + 1) if count / hands >= share)


def luck(hands: int, share: float, skill: float) -> float:
    """How likely a model that answers each hand with probability `skill` answers at least the share of them.

    P(X ≥ k) for X ~ Binomial(hands, skill): 27 % for one of three hands and a skill of a tenth, 0.2 % for five of ten.
    """
    ways = math.lgamma(hands + 1)  # of thousands of hands there are more than a float holds
    return sum(
        math.exp(
            ways
            - math.lgamma(n + 1)
            - math.lgamma(hands - n + 1)
            + n * math.log(skill)
            + (hands - n) * math.log1p(-skill)
        )
        for n in range(needed(hands, share), hands + 1)
    )
