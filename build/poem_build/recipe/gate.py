"""`[gate]` of a recipe: how much is played and measured, and from where on a result passes.

What only says what passes is no part of a key (`exclude`): gates ask it anew each time, and nothing is made again.
"""

import math

from pydantic import Field, model_validator

from poem_build.recipe.section import Count, Fraction, Positive, Section

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
    eval_hands: int = Field(ge=2)
    eval_pass: Fraction = Field(exclude=True)
    base_pass_at_most: Fraction = Field(exclude=True)
    cards_above: float = Field(default=0.0, ge=0, exclude=True)
    """By how many nats a right poem must become less likely under another hand's cards, beyond the interval."""
    whole_sentences: Fraction = Field(default=0.99, exclude=True)
    """The share of whole sentences in the poems that the model delivers."""
    fidelity_poems: int = Field(default=20, ge=2)
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
    serving_hands: int = Field(default=100, ge=2)
    """Hands that the report on serving plays through Ollama, with the schema and without."""
    embedded_hands: Positive = 20
    """How many of them it plays through the embedded engine."""

    @model_validator(mode="after")
    def _smoke_test_tells_something(self) -> "Gate":
        chance = luck(self.smoke_hands, self.smoke_pass, BAD)
        if self.smoke_pass and chance > LUCK:
            raise ValueError(
                f"smoke_pass: a model that answers {BAD:.0%} of the hands would pass {chance:.1%} of the time with "
                f"{self.smoke_pass:.0%} of {self.smoke_hands} asked for, {LUCK:.0%} is allowed; ask more hands or a "
                "larger share"
            )
        return self


def needed(hands: int, share: float) -> int:
    """The fewest of the hands that are at least the share of them."""
    return next(count for count in range(hands + 1) if count / hands >= share)


def luck(hands: int, share: float, skill: float) -> float:
    """How likely a model that answers each hand with probability `skill` answers at least the share of them.

    P(X ≥ k) for X ~ Binomial(hands, skill): 27 % for one of three hands and a skill of a tenth, 0.2 % for five of ten.
    """
    counts = range(needed(hands, share), hands + 1)
    return sum(math.comb(hands, n) * skill**n * (1 - skill) ** (hands - n) for n in counts)
